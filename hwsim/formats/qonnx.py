"""QONNX files as integer graphs.

A QONNX file computes with reals that stand for codes. Where every tensor between two layers passes
a quantizer, the same network is an integer graph: weights are codes, a layer's sum is requantized
once by the profile's rule, and what stands between the two (bias, batch norm, ReLU) is folded into
the bias, the channel's scale and the clamp. What has no such form is refused by name.

The integer graph equals the file's float arithmetic up to the rounding of biases, of multipliers
and of float32 itself; it is the profile's arithmetic, not QONNX's.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from hwsim.attributes import (
    Activation,
    ConvAttrs,
    FakeQuantAttrs,
    FullyConnectedAttrs,
    FusedAttrs,
    NoAttrs,
    NormAttrs,
    PadAttrs,
    PoolAttrs,
    RealRounding,
)
from hwsim.errors import HwsimError, UnsupportedOperatorError
from hwsim.formats.onnx import read_onnx
from hwsim.formats.onnx_builder import Facet
from hwsim.formats.onnx_qonnx import type_of_number
from hwsim.graph import Graph, Node, Value, rebuild
from hwsim.multiplier import float32_product
from hwsim.ops import Op
from hwsim.profile import Clamp, NumericProfile, Requant
from hwsim.profiles import find_profile
from hwsim.quant import INT32, IntType, QuantParams

DEFAULT_PROFILE = "hawq"

Reals = NDArray[np.float64]

_LINEAR = (Op.CONV_2D, Op.DEPTHWISE_CONV_2D, Op.FULLY_CONNECTED)
_SUMS = (Op.ADD, Op.SUB)
_PLAIN = (Op.MATMUL, Op.MUL, Op.AVERAGE_POOL_2D, Op.MEAN)
_MOVES = (
    Op.MAX_POOL_2D, Op.RESHAPE, Op.TRANSPOSE, Op.STRIDED_SLICE, Op.SPLIT, Op.CONCATENATION, Op.PAD,
)  # fmt: skip
_CLAMPS = MappingProxyType(
    {
        Op.RELU: Activation.RELU,
        Op.RELU6: Activation.RELU6,
        Op.RELU_N1_TO_1: Activation.RELU_N1_TO_1,
    }
)
_STORED = (Facet.CODES, Facet.SCALES, Facet.TYPES)
_AFFINE = (Op.BATCH_NORM, Op.ADD, Op.SUB, Op.MUL, Op.DIV)
# The rounding of a real that a requantization of one rounding reproduces.
_ROUNDINGS: Mapping[Requant, RealRounding] = MappingProxyType(
    {
        Requant.HALF_EVEN: RealRounding.HALF_EVEN,
        Requant.FLOAT32_HALF_EVEN: RealRounding.HALF_EVEN,
        Requant.HALF_AWAY: RealRounding.HALF_AWAY,
        Requant.REAL_HALF_AWAY: RealRounding.HALF_AWAY,
        Requant.FLOOR: RealRounding.FLOOR,
        Requant.TRUNC: RealRounding.ZERO,
    }
)


def read_onnx_or_qonnx(data: bytes, path: Path, profile: str | None) -> Graph:
    """Return the graph of an `.onnx` file; a QONNX file becomes integers unless asked for reals.

    Raises:
        HwsimError: As `read_onnx`.
        UnsupportedOperatorError: If a QONNX file has no integer form.
    """
    graph = read_onnx(data, path)
    fake = (Op.FAKE_QUANT, Op.FAKE_TRUNC)
    if profile == "float" or not any(node.op in fake for node in graph.nodes):
        return graph
    arithmetic = find_profile(profile or DEFAULT_PROFILE)
    facets: dict[Facet, Graph] = {facet: read_onnx(data, path, facet) for facet in _STORED}
    try:
        return _Converter(graph, facets, arithmetic, profile or DEFAULT_PROFILE).convert()
    except HwsimError as error:
        raise type(error)(
            f"{path.name}: {error}; profile 'float' runs the file as QONNX defines it"
        ) from error


@dataclass(frozen=True)
class _Epilogue:
    """What stands between a sum and its quantizer: act(factor * sum + shift), per channel."""

    core: str
    factor: Reals
    shift: Reals
    activation: Activation

    @property
    def is_affine(self) -> bool:
        """Whether there is more than an activation."""
        return bool((self.factor != 1).any() or self.shift.any())


class _Converter:
    """Builds the integer graph node by node."""

    def __init__(
        self,
        graph: Graph,
        facets: Mapping[Facet, Graph],
        profile: NumericProfile,
        name: str,
    ) -> None:
        self.graph, self.facets, self.profile, self.name = graph, facets, profile, name
        self.values: dict[str, Value] = {}  # integer values by the name of the real ones
        self.nodes: list[Node] = []

    def convert(self) -> Graph:
        for node in self.graph.nodes:
            if node.op is Op.FAKE_QUANT:
                self.quantize(node)
            elif node.op in _MOVES and all(self.is_coded(name) for name in node.inputs):
                self.move(node)
        for name in self.graph.output_names:
            if name not in self.values:
                self.values[name] = self.accumulator(name)
        values = {value.name: value for value in self.values.values()}
        return rebuild(
            replace(self.graph, nodes=tuple(self.nodes), values=values, profile=self.name),
            self.nodes,
            values.values(),
        )

    def refused(self, node: Node, sentence: str) -> UnsupportedOperatorError:
        return UnsupportedOperatorError(f"node {node.name!r} ({node.op.value}): {sentence}")

    def is_coded(self, name: str) -> bool:
        return name in self.values

    def data(self, name: str) -> Reals:
        array = self.graph.values[name].data
        assert array is not None
        return np.asarray(array, np.float64)

    def is_constant(self, name: str) -> bool:
        return self.graph.values[name].is_constant

    # Quantizers

    def quantize(self, node: Node) -> None:
        """Emit what the quantizer's input is computed by, requantized to its codes."""
        attrs, x = node.attrs, node.inputs[0]
        assert isinstance(attrs, FakeQuantAttrs)
        if attrs.bipolar:
            raise self.refused(node, "a computed tensor must have codes besides -1 and 1")
        if not attrs.quant.is_per_tensor:
            raise self.refused(node, "scale of a computed tensor must be one number")
        out = node.outputs[0]
        value = self.graph.values[out]
        dtype = IntType(attrs.bits, signed=attrs.low < 0)
        made = Value(out, value.shape, dtype, attrs.quant)
        if x in self.graph.input_names:
            self.quantize_input(node, made)
            return
        epilogue = self.epilogue(node)
        core = epilogue.core
        self.values[out] = made
        if self.is_coded(core):
            if epilogue.is_affine:
                raise self.refused(node, "what is quantized must not be scaled or shifted codes")
            rescaler = next(
                (op for op, clamp in _CLAMPS.items() if clamp is epilogue.activation), Op.QUANTIZE
            )
            plain = Node(node.name, rescaler, (core,), node.outputs, NoAttrs())
            self.emit(node, plain, (self.resolve(core),), epilogue)
            return
        self.compute(node, self.graph.producer[core], epilogue)

    def quantize_input(self, node: Node, made: Value) -> None:
        """Let the caller give codes: the input's own quantizer is how reals become them."""
        name = node.inputs[0]
        if len(self.graph.consumers[name]) > 1 or name in self.graph.output_names:
            raise self.refused(node, f"input {name!r} must be read by one quantizer alone")
        attrs = node.attrs
        assert isinstance(attrs, FakeQuantAttrs)
        self.check_ends(node, attrs, Clamp.FULL, Activation.NONE)
        if attrs.rounding.value != self.profile.input_rounding.value:
            raise self.refused(
                node,
                f"rounding_mode of an input must be {self.profile.input_rounding.value} under "
                f"profile {self.profile.name}, not {attrs.rounding.value}",
            )
        self.values[name] = replace(made, name=name)
        self.values[node.outputs[0]] = self.values[name]

    def resolve(self, name: str) -> str:
        """Return the name of the integer value of a real one."""
        return self.values[name].name

    def check_ends(
        self, node: Node, attrs: FakeQuantAttrs, clamp: Clamp, activation: Activation
    ) -> None:
        """Refuse ends that the profile does not clamp to, where codes could reach them."""
        dtype = IntType(attrs.bits, signed=attrs.low < 0)
        low = -dtype.max if clamp is Clamp.SYMMETRIC and dtype.signed else dtype.min
        positive = activation in (Activation.RELU, Activation.RELU6)
        same_low = attrs.low == low or (
            positive and attrs.quant.zero_point[0] >= max(attrs.low, low)
        )
        if not same_low or attrs.high != dtype.max:
            raise self.refused(
                node,
                f"codes must be [{low}, {dtype.max}] under profile {self.profile.name}, "
                f"not [{attrs.low}, {attrs.high}]; its field narrow decides",
            )

    # What stands before a quantizer

    def epilogue(self, node: Node) -> _Epilogue:
        """Walk back from a quantizer over clamps and maps per channel to what is summed."""
        chain: list[Node] = []
        name = node.inputs[0]
        while not self.is_coded(name):
            if len(self.graph.consumers[name]) > 1 or name in self.graph.output_names:
                raise self.refused(node, f"{name!r} must be read by this quantizer alone")
            if name not in self.graph.producer:
                raise self.refused(node, f"input {name!r} must be quantized; no Quant makes it")
            before = self.graph.producer[name]
            constants = [n for n in before.inputs[1:] if self.is_constant(n)]
            affine = before.op in _AFFINE and (constants or self.is_constant(before.inputs[0]))
            if before.op not in _CLAMPS and not affine:
                break
            chain.append(before)
            name = next(n for n in before.inputs if not self.is_constant(n))
        channels = self.graph.values[name].shape[-1]
        factor, shift = np.ones(channels), np.zeros(channels)
        activation = Activation.NONE
        for step in reversed(chain):
            if step.op in _CLAMPS:
                if activation is not Activation.NONE:
                    raise self.refused(step, "must be the only clamp before its quantizer")
                activation = _CLAMPS[step.op]
                continue
            times, plus = self.affine(step, channels)
            if activation is not Activation.NONE:
                raise self.refused(step, "must not stand behind a clamp, before its quantizer")
            factor, shift = factor * times, shift * times + plus
        return _Epilogue(name, factor, shift, activation)

    def affine(self, node: Node, channels: int) -> tuple[Reals, Reals]:
        """Return (factor, shift) per channel of a node with a constant operand."""
        zero, one = np.zeros(channels), np.ones(channels)
        if node.op is Op.BATCH_NORM:
            assert isinstance(node.attrs, NormAttrs)
            gamma, beta, mean, variance = (self.data(name) for name in node.inputs[1:])
            factor = gamma / np.sqrt(variance + node.attrs.epsilon)
            return factor, beta - mean * factor
        slot = next(i for i, name in enumerate(node.inputs) if self.is_constant(name))
        data = self.data(node.inputs[slot])
        rank = len(self.graph.values[node.outputs[0]].shape)
        if data.size != 1 and (data.shape[-1] != data.size or data.ndim > rank):
            raise self.refused(node, "constant must be one number, or one per channel")
        if data.size not in (1, channels):
            raise self.refused(node, f"constant must hold 1 or {channels} numbers")
        number = np.broadcast_to(data.ravel(), (channels,))
        if node.op is Op.ADD:
            return one, number
        if node.op is Op.MUL:
            return number, zero
        if node.op is Op.SUB:
            return (one, -number) if slot == 1 else (-one, number)
        if slot == 0 or not number.all():
            raise self.refused(node, "must divide by constants that are not 0")
        return one / number, zero

    # Operators

    def compute(self, quantizer: Node, node: Node, epilogue: _Epilogue) -> None:
        """Emit a node whose result is quantized."""
        if node.op in _LINEAR:
            inputs = self.linear_inputs(node, epilogue)
        elif epilogue.is_affine:
            raise self.refused(node, "what it makes must not be scaled or shifted before Quant")
        elif node.op in _SUMS:
            inputs = tuple(self.addend(node, name) for name in node.inputs)
        elif node.op in _PLAIN:
            inputs = tuple(self.coded(node, name) for name in node.inputs)
        else:
            known = ", ".join(op.value for op in (*_LINEAR, *_SUMS, *_PLAIN, *_MOVES, *_CLAMPS))
            raise self.refused(node, f"must be one of {known} between quantizers")
        self.emit(quantizer, node, inputs, epilogue)

    def coded(self, node: Node, name: str) -> str:
        if not self.is_coded(name):
            raise self.refused(node, f"input {name!r} must be quantized; no Quant makes it")
        return self.resolve(name)

    def addend(self, node: Node, name: str) -> str:
        """Return an operand of a sum: codes, or a layer's accumulator that nobody else reads."""
        if self.is_coded(name):
            return self.resolve(name)
        if name not in self.graph.producer or len(self.graph.consumers[name]) > 1:
            return self.coded(node, name)
        self.values[name] = self.accumulator(name)
        return name

    def emit(
        self, quantizer: Node, node: Node, inputs: tuple[str, ...], epilogue: _Epilogue
    ) -> None:
        attrs, marks = node.attrs, quantizer.attrs
        assert isinstance(marks, FakeQuantAttrs)
        first = self.values.get(node.inputs[0])
        bits = first.dtype.bits if first is not None else marks.bits
        rule = self.profile.rule(node.op, bits)
        if _ROUNDINGS.get(rule.requant) is not marks.rounding:
            raise self.refused(
                quantizer,
                f"rounding_mode must be what profile {self.profile.name} does in {node.op.value}, "
                f"{rule.requant.name.lower()}, not {marks.rounding.value}",
            )
        self.check_ends(quantizer, marks, rule.clamp, epilogue.activation)
        if isinstance(attrs, ConvAttrs | FullyConnectedAttrs | FusedAttrs | PoolAttrs):
            attrs = replace(attrs, activation=epilogue.activation)
        elif epilogue.activation is not Activation.NONE and node.op not in _CLAMPS:
            # A ReLU alone is what the lower end of unsigned codes does anyway.
            at_zero = marks.low == 0 and not any(marks.quant.zero_point)
            if epilogue.activation is not Activation.RELU or not at_zero:
                raise self.refused(node, "a clamp behind it must be a ReLU before unsigned codes")
        out = quantizer.outputs[0]
        self.nodes.append(Node(out, node.op, tuple(inputs), (out,), attrs))

    def move(self, node: Node) -> None:
        """Emit a node that leaves codes as they are."""
        kinds = {(self.values[n].dtype, self.values[n].quant) for n in node.inputs}
        if len(kinds) > 1:
            raise self.refused(node, "inputs must have one scale, zero point and width")
        if isinstance(node.attrs, PadAttrs) and node.attrs.value:
            raise self.refused(node, "padding must be by zero")
        ((dtype, quant),) = kinds
        for name in node.outputs:
            self.values[name] = Value(name, self.graph.values[name].shape, dtype, quant)
        inputs = tuple(self.resolve(name) for name in node.inputs)
        self.nodes.append(replace(node, inputs=inputs))

    # Layers with weights

    def accumulator(self, name: str) -> Value:
        """Emit a layer whose sum nobody quantizes; its codes are the accumulator's."""
        node = self.graph.producer[name]
        walked = self.plain_sum(node)
        core = self.graph.producer.get(walked.core)
        if core is None or core.op not in _LINEAR or walked.activation is not Activation.NONE:
            raise self.refused(node, f"value {name!r} must be quantized; no Quant makes it")
        inputs = self.linear_inputs(core, walked)
        weights = self.values[inputs[1]].quant
        x = self.values[inputs[0]].quant
        assert weights is not None and x is not None
        scales = tuple(float32_product(x.scale[0], scale) for scale in weights.scale)
        shape = self.graph.values[name].shape
        quant = QuantParams(scales, (0,) * len(scales), len(shape) - 1)
        self.nodes.append(Node(name, core.op, inputs, (name,), core.attrs))
        return Value(name, shape, INT32, quant)

    def plain_sum(self, node: Node) -> _Epilogue:
        """Return what stands behind a layer whose sum is an output, or is added."""
        if node.op in _LINEAR:
            channels = self.graph.values[node.outputs[0]].shape[-1]
            ones = np.ones(channels)
            return _Epilogue(node.outputs[0], ones, ones * 0, Activation.NONE)
        operands = [name for name in node.inputs if not self.is_constant(name)]
        if node.op not in _AFFINE or len(operands) != 1:
            raise self.refused(node, "must be followed by a Quant")
        walked = self.epilogue(replace(node, inputs=(operands[0],)))
        times, plus = self.affine(node, len(walked.factor))
        return replace(walked, factor=walked.factor * times, shift=walked.shift * times + plus)

    def linear_inputs(self, node: Node, epilogue: _Epilogue) -> tuple[str, ...]:
        """File a layer's codes and bias; return its inputs."""
        x = self.coded(node, node.inputs[0])
        quant = self.values[x].quant
        assert quant is not None
        axis = 3 if node.op is Op.DEPTHWISE_CONV_2D else 0
        codes, scales, dtype = self.weights(node, axis)
        spread = [1] * codes.ndim
        spread[axis] = -1
        codes = codes * np.sign(epilogue.factor).astype(np.int64).reshape(spread)
        if codes.min() < dtype.min or codes.max() > dtype.max:
            dtype = IntType(dtype.bits + 1)
        size = np.abs(epilogue.factor)
        stored = tuple(
            float(np.float32(scale * f)) if f else float(scale)
            for scale, f in zip(scales, size, strict=True)
        )
        name = node.outputs[0]
        params = QuantParams(stored, (0,) * len(stored), axis)
        self.file(f"{name}/codes", codes.astype(dtype.storage), dtype, params)
        inputs = [x, f"{name}/codes"]
        bias = np.zeros(len(stored))
        if len(node.inputs) > 2 and node.inputs[2]:
            bias = self.data(node.inputs[2])
        bias = bias * epilogue.factor + epilogue.shift
        if bias.any():
            sums = tuple(float32_product(quant.scale[0], scale) for scale in stored)
            with np.errstate(over="ignore", divide="ignore"):
                exact = np.rint(bias / np.array(sums))
            if not (np.abs(exact) < 1 << 31).all():
                raise self.refused(node, "bias must fit 32 bits at scale s_x * s_w; one does not")
            params = QuantParams(sums, (0,) * len(sums), 0)
            self.file(f"{name}/bias", exact.astype(np.int32), INT32, params)
            inputs.append(f"{name}/bias")
        return tuple(inputs)

    def file(
        self, name: str, codes: NDArray[np.integer], dtype: IntType, quant: QuantParams
    ) -> None:
        self.values[name] = Value(name, codes.shape, dtype, quant, codes)

    def weights(self, node: Node, axis: int) -> tuple[NDArray[np.int64], Reals, IntType]:
        """Return codes, one scale per channel and the type of a layer's weights."""
        name = node.inputs[1]
        found = [self.facets[facet].values.get(name) for facet in _STORED]
        reals = self.data(name)
        arrays = [np.asarray(v.data) for v in found if v is not None and v.data is not None]
        if any(array.shape != reals.shape for array in arrays) or len(arrays) < len(_STORED):
            raise self.refused(node, f"weights {name!r} must be quantized; no Quant makes them")
        codes, scales, types = arrays
        declared = type_of_number(float(types.flat[0])) if types.size else None
        product = np.asarray(codes * scales, np.float32)
        if declared is None or (types != types.flat[0]).any() or (product != reals).any():
            raise self.refused(node, f"weights {name!r} must be quantized; no Quant makes them")
        rows = np.moveaxis(scales, axis, 0).reshape(scales.shape[axis], -1)
        if (rows != rows[:, :1]).any():
            raise self.refused(node, f"weights {name!r} must have one scale per output channel")
        whole = codes.astype(np.int64)
        dtype = declared
        while whole.min() < dtype.min or whole.max() > dtype.max:  # codes minus a zero point
            dtype = IntType(dtype.bits + 1)
        return whole, rows[:, 0].astype(np.float64), dtype
