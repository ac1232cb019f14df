"""Sums, differences, products and rescaled codes as machine code."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsim.graph import Graph, Value
from hwsim.kernels.arith import Scaling
from hwsim.kernels.elementwise import rescale as kernel_rescale
from hwsim.kernels.scaling import UNSCALED, Site, fixed_scaling, output_range
from hwsim.ops import Op
from hwsim.profile import Requant
from hwsim.quant import IntType
from hwsim.verify import largest_code

from .block import AXES
from .broadcast import broadcast
from .call import Native, NativeCall, Word
from .elementwise_kernel import TABLE, Extra, Form, Shape, elementwise_kernel
from .lines import Lines, Spot, lines_of
from .loops import KINDS
from .packing import Factors, pack_factors, padded
from .target import Tier

Constants = Mapping[str, NDArray[Any] | Scaling | int]
_INT32 = (-(1 << 31), (1 << 31) - 1)
_HALF = 0.5
_ANY_BITS = 16


@dataclass(frozen=True)
class Step:
    """What a kernel does to one of its lanes' values: see `elementwise_kernel.Form`.

    Args:
        number: A `Requant` or `Extra`.
        factors: Its factors.
        channels: How many there are, one per channel; 0 for one that all share.
    """

    number: int
    factors: Factors
    channels: int = 0

    def words(self, count: int) -> tuple[Word, ...]:
        """Return the arguments of a line of `count` elements."""
        made = self.factors
        arrays = [made.multiplier, made.left, made.right, made.real]
        if self.channels:
            arrays = [_along(array, self.channels, count) for array in arrays]
        return (*arrays, made.zero, made.low, made.high)


def _along(array: NDArray[Any], channels: int, count: int) -> NDArray[Any]:
    """Return factors of channels repeated for the pixels of a line."""
    return padded(np.resize(array[:channels], count), count, array.dtype)


def _simple(
    number: int, multiplier: int = 0, right: int = 0, limits: tuple[int, int, int] = (0, *_INT32)
) -> Step:
    """Return a step of one factor and of limits (zero, low, high), as `emit.Range` has them."""
    factor, left, shift = (
        padded(np.array([n], np.int64), 1, np.int32) for n in (multiplier, 0, right)
    )
    real = padded(np.zeros(1), 1, np.float32)
    return Step(number, Factors(Requant.NONE, factor, left, shift, real, *limits))


AS_IS = _simple(Extra.AS_IS)


def _scaled(scaling: Scaling, reach: int = _INT32[1]) -> Step | None:
    """Return the step of a scaling, or None if machine code has no form for it.

    Args:
        scaling: Factors.
        reach: Largest magnitude of what they scale.
    """
    count = scaling.real.size
    factors = pack_factors(scaling, count, _ANY_BITS, reach.bit_length() + 1)
    if factors is None:
        return None
    return Step(int(factors.rule), factors, count if count > 1 else 0)


@dataclass(frozen=True)
class Operand:
    """An operand: codes less their zero point, shifted left."""

    value: Value
    zero: int
    shift: int = 0

    def reach(self, graph: Graph) -> int:
        """Return the proved largest magnitude."""
        return largest_code(graph, self.value) << self.shift


def _centered_fits(operand: Operand) -> bool:
    """Return whether centered and shifted codes fit int32, with room for a sign."""
    value = operand.value
    if not isinstance(value.dtype, IntType) or storage_of(value) not in KINDS:
        return False
    if value.dtype.bits > 16:
        return operand.zero == 0 and operand.shift == 0
    low, high = (
        code - operand.zero << operand.shift for code in (value.dtype.min, value.dtype.max)
    )
    return _INT32[0] <= low and high <= _INT32[1]


def _native(
    tier: Tier, site: Site, shape: Shape, operands: Sequence[Operand], steps: Sequence[Step | None]
) -> Native | None:
    """Return an elementwise kernel, its operands broadcast; None if there is no form for it."""
    out = site.result()
    known = [step for step in steps if step is not None]
    if len(known) < len(steps) or not all(map(_centered_fits, operands)) or 0 in out.shape:
        return None
    if storage_of(out) not in KINDS or len(out.shape) > AXES:
        return None
    channels = {step.channels for step in known} - {0}
    if channels and channels != {out.shape[-1]}:
        return None
    kinds = [storage_of(operand.value) for operand in operands]
    form = Form(
        tier,
        shape,
        (kinds[0], kinds[-1], storage_of(out)),
        (known[0].number, known[1].number, known[2].number),
        (known[0].channels > 0, known[1].channels > 0, known[2].channels > 0),
        (known[0].factors.near, known[1].factors.near, known[2].factors.near),
    )
    kernel = elementwise_kernel(form)

    def combine(spots: Sequence[Spot]) -> NativeCall:
        *read, end = spots
        walk = lines_of(spots, max(channels, default=0))
        if len(read) == 1:
            read.append(read[0])
            walk = Lines(walk.images, walk.lines, walk.count, (walk.pitches[0], *walk.pitches))
        words: list[Word] = [*walk.words([*read, end])]
        for slot in (0, 1):
            operand = operands[min(slot, len(operands) - 1)]
            words += [operand.zero, operand.shift]
        for step in known:
            words += step.words(walk.count)
        return NativeCall(kernel, tuple(words))

    return broadcast([operand.value for operand in operands], out, combine)


def storage_of(value: Value) -> str:
    """Return the storage of a value's codes, as `KINDS` names it."""
    return np.dtype(value.dtype.storage).name


def add(tier: Tier, site: Site, constants: Constants, bits: int) -> Native | None:
    """Return ADD and SUB as machine code."""
    if "multiplier_a" in constants:
        return _add_once(tier, site, constants)
    if "right_shift_a" in constants:
        return _add_powers(tier, site, constants)
    if "requantize_a" not in constants:
        return None
    shift = constants.get("left_shift", 0)
    assert isinstance(shift, int)
    last = constants.get("requantize")
    if last is None:
        qmin, qmax = output_range(site, site.activation)
        last = fixed_scaling(UNSCALED, [1.0], int(site.zero_of(site.result())), qmin, qmax)
    assert isinstance(last, Scaling)
    operands: list[Operand] = []
    steps: list[Step | None] = []
    for slot, name in ((0, "requantize_a"), (1, "requantize_b")):
        value, scaling = site.operand(slot), constants[name]
        assert isinstance(scaling, Scaling)
        zero = int(site.common_zero(value))
        halved = shift > 0 and Requant(scaling.rule).is_fixed and scaling.real[0] == _HALF
        if halved:  # exactly: the shift has left a zero below
            operands.append(Operand(value, zero, shift - 1))
            steps.append(AS_IS)
            continue
        operand = Operand(value, zero, shift)
        if not _sum_fits(operand.reach(site.graph), scaling, shift):
            return None
        if _fits_register(tier, value, scaling):
            operands.append(Operand(value, 0))
            steps.append(_looked_up(value, zero, shift, scaling))
            continue
        operands.append(operand)
        steps.append(_scaled(scaling, operand.reach(site.graph)))
    # Shifted codes are at most halved, and then added.
    reach = max(operand.reach(site.graph) for operand in operands) if shift else _INT32[1]
    return _native(tier, site, _SUMS[site.op], operands, [*steps, _scaled(last, reach)])


_SUMS = {Op.ADD: Shape.SUM, Op.SUB: Shape.DIFFERENCE}


def _fits_register(tier: Tier, value: Value, scaling: Scaling) -> bool:
    """Return whether all codes of an operand, scaled, fit one vector that is looked up in."""
    return tier.masked and 1 << value.dtype.bits <= TABLE and scaling.real.size == 1


def _looked_up(value: Value, zero: int, shift: int, scaling: Scaling) -> Step:
    """Return the step that reads what the reference kernel makes of every code."""
    assert isinstance(value.dtype, IntType)
    codes = np.arange(value.dtype.min, value.dtype.max + 1)
    scaled = np.empty((codes.size, 1), np.int32)
    kernel_rescale((codes[:, None] - zero) << shift, 0, scaling, scaled)
    table = padded(np.zeros(1), TABLE, np.int32)
    table[codes & (TABLE - 1)] = scaled[:, 0]
    return Step(Extra.LOOK_UP, replace(AS_IS.factors, multiplier=table))


def _sum_fits(reach: int, scaling: Scaling, shift: int) -> bool:
    """Return whether two operands of that magnitude, scaled, add up within int32."""
    ratio = 1.0 if Requant(scaling.rule) is Requant.NONE else float(np.abs(scaling.real).max())
    # Shifted codes are at most halved: they reach 2**30 on the negative side alone.
    return reach * ratio <= float(1 << (30 if shift else 29))


def _add_once(tier: Tier, site: Site, constants: Constants) -> Native | None:
    """Return an addition of one shift."""
    operands, steps, reach = [], [], 0
    for slot, name in ((0, "multiplier_a"), (1, "multiplier_b")):
        value, multiplier = site.operand(slot), constants[name]
        assert isinstance(multiplier, int)
        operands.append(Operand(value, int(site.zero_of(value))))
        reach += operands[-1].reach(site.graph) * abs(multiplier)
        steps.append(_simple(Extra.TIMES, multiplier))
    shift = constants["right_shift"]
    assert isinstance(shift, int)
    if not 1 <= shift <= 31 or reach + (1 << shift - 1) > _INT32[1]:
        return None
    qmin, qmax = output_range(site, site.activation)
    zero = int(site.zero_of(site.result()))
    last = _simple(Extra.SHIFT, right=shift, limits=(zero, qmin - zero, qmax - zero))
    return _native(tier, site, Shape.SUM, operands, [*steps, last])


def _add_powers(tier: Tier, site: Site, constants: Constants) -> Native | None:
    """Return an addition at scales that are powers of two."""
    operands, steps = [], []
    for slot, name in ((0, "right_shift_a"), (1, "right_shift_b")):
        shift = constants[name]
        assert isinstance(shift, int)
        operands.append(Operand(site.operand(slot), 0))
        if shift > _MOST_SHIFT:
            return None
        steps.append(_simple(Requant.HALF_AWAY, 1, shift) if shift else AS_IS)
    qmin, qmax = output_range(site, site.activation)
    last = _simple(Requant.NONE, limits=(0, qmin, qmax))
    return _native(tier, site, _SUMS[site.op], operands, [*steps, last])


_MOST_SHIFT = 62


def extremum(tier: Tier, site: Site, constants: Constants, bits: int) -> Native | None:
    """Return MAXIMUM and MINIMUM as machine code."""
    shape = Shape.LARGER if site.op is Op.MAXIMUM else Shape.SMALLER
    operands = [Operand(site.operand(slot), 0) for slot in (0, 1)]
    return _native(tier, site, shape, operands, [AS_IS, AS_IS, AS_IS])


def mul(tier: Tier, site: Site, constants: Constants, bits: int) -> Native | None:
    """Return MUL as machine code."""
    scaling = constants.get("requantize")
    if not isinstance(scaling, Scaling):
        return None
    operands = []
    reach = 1
    for slot in (0, 1):
        value = site.operand(slot)
        operands.append(Operand(value, int(site.zero_of(value))))
        reach *= operands[-1].reach(site.graph)
    if reach > _INT32[1]:
        return None
    return _native(tier, site, Shape.PRODUCT, operands, [AS_IS, AS_IS, _scaled(scaling, reach)])


def rescale(tier: Tier, site: Site, constants: Constants, bits: int) -> Native | None:
    """Return QUANTIZE between integers and stand-alone clamps as machine code."""
    scaling, x = constants.get("requantize"), site.operand(0)
    if not isinstance(scaling, Scaling):
        return None
    operand = Operand(x, int(site.common_zero(x)))
    return _native(
        tier,
        site,
        Shape.ONE,
        [operand],
        [_scaled(scaling, operand.reach(site.graph)), AS_IS, AS_IS],
    )


def leaky_relu(tier: Tier, site: Site, constants: Constants, bits: int) -> Native | None:
    """Return LEAKY_RELU as machine code."""
    above, below = constants.get("requantize_above"), constants.get("requantize_below")
    if not (isinstance(above, Scaling) and isinstance(below, Scaling)):
        return None
    x = site.operand(0)
    operand = Operand(x, int(site.zero_of(x)))
    steps = [
        _scaled(above, operand.reach(site.graph)),
        _scaled(below, operand.reach(site.graph)),
        AS_IS,
    ]
    return _native(tier, site, Shape.LEAKY, [operand], steps)
