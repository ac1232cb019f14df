"""From a calibrated float graph to an integer graph of a dyadic profile, `hawq` unless given.

Weights are symmetric, per output channel. Activations are symmetric per tensor, unsigned where the
range holds no negative number. A bias has 32 bits at scale s_x * s_w; a layer whose sum feeds an
addition hands over its accumulator. Source: sources.md, B; HAWQ-V3 (arXiv 2011.10680).
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsim.attributes import PadAttrs
from hwsim.calibration import Ranges
from hwsim.errors import QuantizationError
from hwsim.fuse import LINEAR, MOVES, gelu_accumulators
from hwsim.graph import Graph, Node, Value, rebuild
from hwsim.multiplier import float32_product
from hwsim.norm import FRACTION_BITS, RECIPROCAL_BITS
from hwsim.ops import Op
from hwsim.partition import WIDE_BITS, Bits, Partition, partition, selection_of
from hwsim.profile import Method, NumericProfile
from hwsim.profiles import find_profile
from hwsim.profiles.dyadic import HAWQ
from hwsim.quant import (
    INT32,
    IntType,
    QuantParams,
    Rounding,
    quantize_array,
    symmetric_scale,
)
from hwsim.tables import Allocation, Option

MIN_BITS, MAX_BITS = 2, 8
# A bias code stays below this: a channel of tiny weights gets a coarser scale instead.
_BIAS_LIMIT = 1 << 24
# LayerNorm's beta stays below this many times the largest gamma: 2**5 * 2**15 * 2**FRACTION_BITS
# is half of what 32 bits hold.
_BETA_LIMIT = 1 << 5
# Where gamma is folded into the scale, beta / gamma is an integer that float64 holds.
_WIDE_BETA = 2.0**53


@dataclass(frozen=True)
class Scheme:
    """What every activation and weight of a configuration is stored as.

    Args:
        parts: The partition of the fused graph.
        options: Widths by unit.
        formats: (type, parameters) by code group.
        profile: The arithmetic that the formats are for.
    """

    parts: Partition
    options: Mapping[str, Option]
    formats: Mapping[str, tuple[IntType, QuantParams]]
    profile: NumericProfile = HAWQ

    def of(self, name: str) -> tuple[IntType, QuantParams]:
        """Return the format of an activation."""
        return self.formats[self.parts.group[name]]

    def weight_bits(self, node: Node) -> int:
        """Return the weight width of a linear node."""
        return self.options[self.parts.unit[node.name]].weight_bits


def quantize(
    graph: Graph,
    ranges: Ranges,
    bits: Bits | Mapping[str, Bits] | Allocation = 8,
    *,
    first_last: Bits | None = None,
    profile: str | Path | NumericProfile = HAWQ,
) -> Graph:
    """Return the integer graph of a float graph.

    Args:
        graph: A float graph.
        ranges: Its calibration.
        bits: One width (or pair) for all units, one per unit, or an allocation; 2 to 8 bits.
        first_last: Widths of the layers at the network's border, where they differ.
        profile: The arithmetic that will run the graph, one of dyadic multipliers: its methods
            decide the formats of softmax, GELU and LayerNorm.

    Raises:
        QuantizationError: If a width, a range or an operator has no integer form.
    """
    only = quantize_all(graph, ranges, {"": bits}, first_last=first_last, profile=profile)
    return only[""]


def quantize_all(
    graph: Graph,
    ranges: Ranges,
    configurations: Mapping[str, Bits | Mapping[str, Bits] | Allocation],
    *,
    first_last: Bits | None = None,
    profile: str | Path | NumericProfile = HAWQ,
) -> dict[str, Graph]:
    """Return the integer graphs of many configurations, by name; arguments as for `quantize`.

    Equal constants of two configurations are one array.

    Raises:
        QuantizationError: As `quantize`.
    """
    known = profile if isinstance(profile, NumericProfile) else find_profile(profile)
    parts = partition(graph)
    codes: dict[tuple[str, IntType, QuantParams], Value] = {}
    made = {}
    for name, bits in configurations.items():
        scheme = plan_scheme(parts, ranges, bits, first_last, known)
        built = _Builder(scheme, codes).build()
        # A file's profile is found again by its path alone.
        given = isinstance(profile, NumericProfile)
        made[name] = built if given else replace(built, profile=str(profile))
    return made


def plan_scheme(
    parts: Partition,
    ranges: Ranges,
    bits: Bits | Mapping[str, Bits] | Allocation,
    first_last: Bits | None = None,
    profile: NumericProfile = HAWQ,
) -> Scheme:
    """Return the formats of a configuration.

    Raises:
        QuantizationError: If the graph is no float graph, or a width is out of range.
    """
    if not parts.graph.is_float:
        raise QuantizationError(
            f"graph {parts.graph.name!r} must hold floats to be quantized, not integer codes"
        )
    chosen = bits.bits if isinstance(bits, Allocation) else bits
    options = selection_of(parts.units, parts.border, chosen, first_last)
    for unit, option in options.items():
        for name in ("weight_bits", "activation_bits"):
            if not MIN_BITS <= getattr(option, name) <= MAX_BITS:
                raise QuantizationError(
                    f"unit {unit!r}: {name} must be in [{MIN_BITS}, {MAX_BITS}], "
                    f"not {getattr(option, name)}"
                )
    if _method(profile, Op.GELU) is Method.IBERT:
        sums = parts.accumulators | gelu_accumulators(parts.graph)
        parts = replace(parts, accumulators=sums)
    groups = {
        group: None for name, group in parts.group.items() if parts.graph.values[name].is_float
    }
    formats = {group: group_format(parts, ranges, options, group, profile) for group in groups}
    return Scheme(parts, options, formats, profile)


def _method(profile: NumericProfile, op: Op) -> Method | None:
    """Return how a profile computes an operator, or None where it has no row for it."""
    rule = profile.rules.get((op, 16), profile.rules.get((op, 8)))
    return None if rule is None else rule.method


def group_format(
    parts: Partition,
    ranges: Ranges,
    options: Mapping[str, Option],
    group: str,
    profile: NumericProfile = HAWQ,
) -> tuple[IntType, QuantParams]:
    """Return the type and parameters of a code group.

    Raises:
        QuantizationError: If the ranges miss one of its values.
    """
    owner = parts.owner.get(group)
    bits = parts.free_bits(group) if owner is None else options[owner].activation_bits
    members = parts.members(group)
    makers = [parts.graph.producer[name] for name in members if name in parts.graph.producer]
    if any(node.op is Op.SOFTMAX for node in makers):
        sources = [name for name in members if name in parts.graph.input_names]
        for node in makers:
            if node.op in MOVES:
                sources += [name for name in node.inputs if parts.graph.values[name].is_constant]
            else:
                sources.append(node.name)
        if len(sources) > 1:
            raise QuantizationError(
                f"value {members[0]!r}: a softmax must not be joined with other values"
            )
        dtype = IntType(min(bits, MAX_BITS), signed=_method(profile, Op.SOFTMAX) is Method.IVIT)
        fraction = dtype.bits - 1 if dtype.signed else dtype.bits
        return dtype, QuantParams.per_tensor(2.0**-fraction)
    for name in members:
        if name not in ranges.bounds:
            raise QuantizationError(f"value {name!r} must have a calibrated range; calibrate first")
    low = min(ranges.bounds[name][0] for name in members)
    high = max(ranges.bounds[name][1] for name in members)
    dtype = IntType(bits, signed=low < 0)
    scale = float(np.float32(symmetric_scale(max(-low, high), dtype)))
    return dtype, QuantParams.per_tensor(max(scale, float(np.finfo(np.float32).tiny)))


def weight_format(
    weights: NDArray[np.floating],
    bits: int,
    axis: int,
    bias: NDArray[np.floating] | None = None,
    input_scale: float = 1.0,
) -> tuple[IntType, QuantParams]:
    """Return the symmetric per-channel format of weights, zero points 0.

    A channel's scale is raised where its bias would otherwise need more than 24 bits, so that a
    dead channel cannot blow up the accumulator.
    """
    dtype = IntType(bits)
    rows = np.moveaxis(np.asarray(weights, np.float64), axis, 0).reshape(weights.shape[axis], -1)
    magnitudes = np.abs(rows).max(axis=1)
    scales = magnitudes / max(dtype.max, 1)  # as symmetric_scale: one-bit codes are {-1, 0}
    if bias is not None:
        scales = np.maximum(scales, np.abs(bias) / (input_scale * _BIAS_LIMIT))
    alive = scales[scales > 0]
    scales = np.where(scales > 0, scales, alive.min() if alive.size else 1.0)
    stored = tuple(float(np.float32(scale)) for scale in scales)
    return dtype, QuantParams(stored, (0,) * len(stored), axis)


def channel_axis(node: Node) -> int:
    """Return the output-channel axis of a linear node's weights."""
    return 3 if node.op is Op.DEPTHWISE_CONV_2D else 0


class _Builder:
    """Builds the integer graph node by node; constants that others made are taken over."""

    def __init__(
        self, scheme: Scheme, codes: dict[tuple[str, IntType, QuantParams], Value]
    ) -> None:
        self.scheme = scheme
        self.codes = codes
        self.graph = scheme.parts.graph
        self.values: dict[str, Value] = {}
        self.nodes: list[Node] = []

    def build(self) -> Graph:
        for value in self.graph.activations:
            if not value.is_float:
                self.values[value.name] = value  # indices
            elif value.name not in self.scheme.parts.accumulators:
                dtype, quant = self.scheme.of(value.name)
                self.values[value.name] = replace(value, dtype=dtype, quant=quant)
        for node in self.graph.nodes:
            self.nodes.append(self.convert(node))
        made = replace(
            self.graph,
            nodes=tuple(self.nodes),
            values=self.values,
            profile=self.scheme.profile.name,
            origin=None,
        )
        return rebuild(made, made.nodes, made.values.values())

    def convert(self, node: Node) -> Node:
        if node.op in LINEAR:
            return self.linear(node)
        if node.op not in _CONVERTERS:
            raise QuantizationError(
                f"node {node.name!r}: operator must be one of "
                f"{', '.join(op.value for op in Op if op in LINEAR or op in _CONVERTERS)} "
                "to be quantized, "
                f"not {node.op.value}"
            )
        return _CONVERTERS[node.op](self, node)

    def reals(self, name: str) -> NDArray[np.float64]:
        data = self.graph.values[name].data
        if data is None:
            raise QuantizationError(f"value {name!r} must be a constant to be quantized")
        return np.asarray(data, np.float64)

    def constant(
        self, name: str, reals: NDArray[np.floating], dtype: IntType, quant: QuantParams
    ) -> str:
        known = self.codes.get((name, dtype, quant))
        if known is None:
            codes = quantize_array(reals, dtype, quant, Rounding.HALF_EVEN)
            known = Value(name, codes.shape, dtype, quant, codes)
            self.codes[name, dtype, quant] = known
        self.values[name] = known
        return name

    def linear(self, node: Node) -> Node:
        """Quantize weights and bias; leave the sum in the accumulator where an ADD takes it."""
        weights = self.reals(node.inputs[1])
        bias = self.reals(node.inputs[2]) if len(node.inputs) > 2 and node.inputs[2] else None
        x_scale = self.scheme.of(node.inputs[0])[1].scale[0]
        dtype, quant = weight_format(
            weights, self.scheme.weight_bits(node), channel_axis(node), bias, x_scale
        )
        inputs = [node.inputs[0], self.constant(f"{node.name}/codes", weights, dtype, quant)]
        sums = tuple(float32_product(x_scale, scale) for scale in quant.scale)
        if bias is not None:
            params = QuantParams(sums, (0,) * len(sums), 0)
            inputs.append(self.constant(f"{node.name}/bias_codes", bias, INT32, params))
        out = node.outputs[0]
        if out in self.scheme.parts.accumulators:
            value = self.graph.values[out]
            params = QuantParams(sums, (0,) * len(sums), len(value.shape) - 1)
            self.values[out] = replace(value, dtype=INT32, quant=params)
        return replace(node, inputs=tuple(inputs))

    def same(self, node: Node) -> Node:
        """Keep a node whose operands are all activations."""
        for name in filter(None, node.inputs):
            if self.graph.values[name].is_constant:
                raise QuantizationError(
                    f"node {node.name!r} ({node.op.value}): operand {name!r} must be computed, "
                    "not a constant"
                )
        return node

    def binary(self, node: Node) -> Node:
        """Quantize a constant operand at the width of a residual stream."""
        inputs = []
        for name in node.inputs:
            if self.graph.values[name].is_constant:
                reals = self.reals(name)
                dtype = IntType(WIDE_BITS)
                scale = float(np.float32(symmetric_scale(float(np.abs(reals).max()), dtype)))
                quant = QuantParams.per_tensor(scale)
                name = self.constant(f"{node.name}/{name}/codes", reals, dtype, quant)
            inputs.append(name)
        return replace(node, inputs=tuple(inputs))

    def layer_norm(self, node: Node) -> Node:
        """Quantize gamma to at most 16 bits and beta to the scale of gamma's product.

        Gamma's scale is raised where beta would otherwise not fit its 32 bits.
        """
        gamma = self.reals(node.inputs[1])
        beta = self.reals(node.inputs[2]) if len(node.inputs) > 2 and node.inputs[2] else None
        if _method(self.scheme.profile, node.op) in (Method.IBERT, Method.IVIT):
            return self.sign_norm(node, gamma, beta)
        dtype = IntType(16)
        magnitude = float(np.abs(gamma).max())
        if beta is not None:
            magnitude = max(magnitude, float(np.abs(beta).max()) / _BETA_LIMIT)
        scale = float(np.float32(symmetric_scale(magnitude, dtype)))
        quant = QuantParams.per_tensor(scale)
        inputs = [node.inputs[0], self.constant(f"{node.name}/gamma", gamma, dtype, quant)]
        if beta is not None:
            quant = QuantParams.per_tensor(scale * 2.0**-FRACTION_BITS)
            inputs.append(self.constant(f"{node.name}/beta", beta, INT32, quant))
        return replace(node, inputs=tuple(inputs))

    def sign_norm(
        self, node: Node, gamma: NDArray[np.float64], beta: NDArray[np.float64] | None
    ) -> Node:
        """Keep gamma as a sign with a scale per channel, beta / gamma in normalized codes."""
        if not gamma.all():
            raise QuantizationError(
                f"node {node.name!r}: gamma must not be 0 in any channel under "
                f"{self.scheme.profile.name}, which divides beta by it"
            )
        channels = len(gamma)
        zeros = (0,) * channels
        unit = math.sqrt(channels) * 2.0**-RECIPROCAL_BITS
        signs = np.where(gamma > 0, 1, -1).astype(np.int8)
        magnitudes = np.abs(gamma)
        name = f"{node.name}/gamma"
        quant = QuantParams(tuple(magnitudes.tolist()), zeros, 0)
        self.values[name] = Value(name, gamma.shape, IntType(2), quant, signs)
        inputs = [node.inputs[0], name]
        if beta is not None:
            floors = np.floor(beta / gamma / unit) * signs
            if np.abs(floors).max() >= _WIDE_BETA:
                raise QuantizationError(
                    f"node {node.name!r}: beta / gamma must stay below {_WIDE_BETA * unit:g}"
                )
            name = f"{node.name}/beta"
            dtype = INT32 if np.abs(floors).max() <= INT32.max else IntType(64)
            quant = QuantParams(tuple((magnitudes * unit).tolist()), zeros, 0)
            codes = floors.astype(dtype.storage)
            self.values[name] = Value(name, codes.shape, dtype, quant, codes)
            inputs.append(name)
        return replace(node, inputs=tuple(inputs))

    def concatenation(self, node: Node) -> Node:
        """Quantize joined constants in the format of the result."""
        dtype, quant = self.scheme.of(node.outputs[0])
        inputs = tuple(
            self.constant(f"{node.name}/{name}/codes", self.reals(name), dtype, quant)
            if self.graph.values[name].is_constant
            else name
            for name in node.inputs
        )
        return replace(node, inputs=inputs)

    def pad(self, node: Node) -> Node:
        """Keep a pad by zero, whose code is the zero point."""
        assert isinstance(node.attrs, PadAttrs)
        if node.attrs.value is not None:
            raise QuantizationError(f"node {node.name!r}: padding must be by zero")
        return node


_Converter = Callable[[_Builder, Node], Node]
_SAME = (
    Op.MATMUL, Op.AVERAGE_POOL_2D, Op.MAX_POOL_2D, Op.MEAN, Op.SOFTMAX, Op.RELU, Op.RELU6,
    Op.RELU_N1_TO_1, Op.CLIP, Op.LEAKY_RELU, Op.LOGISTIC, Op.TANH, Op.HARD_SWISH, Op.GELU, Op.SILU,
    Op.RESHAPE, Op.TRANSPOSE, Op.STRIDED_SLICE, Op.SPLIT,
)  # fmt: skip
_CONVERTERS: Mapping[Op, _Converter] = MappingProxyType(
    dict.fromkeys(_SAME, _Builder.same)
    | dict.fromkeys((Op.ADD, Op.SUB, Op.MUL), _Builder.binary)
    | {
        Op.LAYER_NORM: _Builder.layer_norm,
        Op.RMS_NORM: _Builder.layer_norm,
        Op.CONCATENATION: _Builder.concatenation,
        Op.GATHER: _Builder.concatenation,
        Op.PAD: _Builder.pad,
    }
)


def fake_quantize(dtype: IntType, quant: QuantParams) -> Callable[[Any], Any]:
    """Return the map of a torch tensor to the reals that its codes stand for."""
    import torch

    def apply(x: Any) -> Any:
        scale, zero_point = (torch.from_numpy(a) for a in quant.broadcast(x.ndim))
        codes = torch.round(x.double() / scale) + zero_point
        return ((codes.clamp(dtype.min, dtype.max) - zero_point) * scale).to(x.dtype)

    return apply
