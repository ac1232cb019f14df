"""Lowering of recurrent operators: states are operands and results, nothing is kept."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hwsim.attributes import LstmAttrs, SvdfAttrs
from hwsim.graph import Value
from hwsim.ops import Op
from hwsim.quant import IntType
from hwsim.verify import centered_weights

from .arith import Scaling
from .interpolate import sigmoid_table
from .lower_linear import Array, Step, constant_bias, placed
from .lstm import GATES, lstm
from .scaling import Scratch, Site, fixed_scaling, output_range, scale_ratio
from .svdf import svdf

INT16 = IntType(16)
_GATE_SCALE = 2.0**-12  # before its activation, Q3.12
_ACTIVATED_SCALE = 2.0**-15  # behind it, Q0.15
# The table of tanh reaches 255 / 24; a larger step of the cell would shift its code out of 64 bits.
_MAX_CELL_POWER = 15


def lower_lstm(site: Site) -> Step:
    """Lower LSTM.

    The products of gates follow the profile's rule for MUL of 16-bit codes.
    Source: numerics.md, section 3.6; tensorflow/lite/micro/kernels/unidirectional_sequence_lstm.cc.
    """
    attrs = site.node.attrs
    assert isinstance(attrs, LstmAttrs)
    x, hidden, cell, out = site.operand(0), site.operand(9), site.operand(10), site.result()
    site.same_params((hidden, out, site.result(1)))
    site.same_params((cell, site.result(2)))
    if cell.dtype != INT16 or int(site.zero_of(cell)) != 0:
        raise site.fail(f"cell state {cell.name!r} must be int16 with zero point 0")
    if hidden.dtype not in (x.dtype, INT16):
        raise site.fail(
            f"hidden state {hidden.name!r} must be {x.dtype} like the input, not {hidden.dtype}"
        )
    cell_scale = site.scale_of(cell)
    power = round(math.log2(cell_scale))
    if power > _MAX_CELL_POWER:
        raise site.fail(f"cell scale must be at most 2**{_MAX_CELL_POWER}, not {cell_scale:g}")
    by_input = _gate_scaling(site, x, range(1, 5))
    by_hidden = _gate_scaling(site, hidden, range(5, 9))
    weights, recurrent = _gate_weights(site, range(1, 5)), _gate_weights(site, range(5, 9))
    units = hidden.shape[1]
    bias = np.concatenate([constant_bias(site, slot, units) for slot in range(11, 15)])
    product = site.profile.rule(Op.MUL, INT16.bits)
    clip = int(min(attrs.cell_clip / cell_scale, float(INT16.max)))
    # A clip is symmetric; without one the whole range is used.
    low = -clip if math.isfinite(attrs.cell_clip) else INT16.min
    squared = _ACTIVATED_SCALE * _ACTIVATED_SCALE
    forget = fixed_scaling(product, [_ACTIVATED_SCALE], 0, INT16.min, INT16.max)
    update = fixed_scaling(product, [squared / cell_scale], 0, low, clip)
    ends = site.integer(out)
    zero = int(site.zero_of(out))
    emit = fixed_scaling(product, [squared / site.scale_of(out)], zero, ends.min, ends.max)
    x_zero, hidden_zero = site.zero_of(x), site.zero_of(hidden)
    table = sigmoid_table()
    scratch = Scratch(GATES * units, site.rule.accumulator_bits)

    def step(arrays: Sequence[Array]) -> tuple[Array, ...]:
        acc = scratch.take()
        gates = np.empty(GATES * units, np.int64)
        made = np.empty(out.shape, out.dtype.storage)
        last_hidden, last_cell = arrays[9].copy(), arrays[10].copy()
        lstm(
            arrays[0], weights, recurrent, bias, x_zero, hidden_zero, by_input, by_hidden,
            forget, update, emit, -12 - power, table, acc, gates, last_hidden, last_cell, made,
        )  # fmt: skip
        scratch.give(acc)
        return made, last_hidden, last_cell

    return step


def _gate_scaling(site: Site, x: Value, slots: range) -> Scaling:
    """Return the scaling of the four gates' sums, each into Q3.12."""
    ratios: list[float] = []
    for slot in slots:
        weights = site.operand(slot)
        units = weights.shape[0]
        if weights.quant is None or weights.quant.axis not in (None, 0):
            raise site.fail(f"{weights.name!r} must have one scale, or one per index of axis 0")
        scales = weights.quant.scale
        made = [scale_ratio(site, site.scale_of(x), scale, _GATE_SCALE) for scale in scales]
        ratios += made if len(made) > 1 else made * units
    return fixed_scaling(site.rule, ratios, 0, INT16.min, INT16.max)


def _gate_weights(site: Site, slots: range) -> NDArray[np.signedinteger]:
    """Return the weights of four gates side by side, (inputs, 4 * units)."""
    return placed(np.concatenate([_constant(site, slot) for slot in slots]).T)


def _constant(site: Site, slot: int) -> NDArray[np.int64]:
    """Return constant weights without their zero point."""
    weights = site.operand(slot)
    if weights.data is None:
        raise site.fail(f"weights {weights.name!r} must be a constant")
    site.integer(weights)
    return centered_weights(weights)


def lower_svdf(site: Site) -> Step:
    """Lower SVDF. Source: tensorflow/lite/micro/kernels/svdf_common.cc; numerics.md, 3.7."""
    attrs = site.node.attrs
    assert isinstance(attrs, SvdfAttrs)
    x, state, out = site.operand(0), site.operand(3), site.result()
    feature, time = placed(_constant(site, 1).T), placed(_constant(site, 2))
    site.same_params((state, site.result(1)))
    if int(site.zero_of(state)) != 0:
        # Releases of TFLite Micro differ there: some wrap around, CMSIS-NN knows none.
        raise site.fail(f"zero point of state {state.name!r} must be 0")
    units = out.shape[1]
    bias = constant_bias(site, 4, units)
    rule, codes = site.rule, site.integer(state)
    state_scale = site.scale_of(state)
    into = scale_ratio(site, site.scale_of(x), site.scale_of(site.operand(1)), state_scale)
    by_feature = fixed_scaling(rule, [into], 0, codes.min, codes.max)
    behind = scale_ratio(site, state_scale, site.scale_of(site.operand(2)), site.scale_of(out))
    qmin, qmax = output_range(site, attrs.activation)
    by_time = fixed_scaling(rule, [behind] * units, int(site.zero_of(out)), qmin, qmax)
    x_zero = site.zero_of(x)
    scratch = [Scratch(size, rule.accumulator_bits) for size in (feature.shape[1], units)]

    def step(arrays: Sequence[Array]) -> tuple[Array, ...]:
        features, sums = (one.take() for one in scratch)
        made = np.empty(out.shape, out.dtype.storage)
        pushed = arrays[3].copy()
        svdf(
            arrays[0], feature, time, bias, x_zero, attrs.rank, by_feature, by_time,
            features, sums, pushed, made,
        )  # fmt: skip
        scratch[0].give(features)
        scratch[1].give(sums)
        return made, pushed

    return step
