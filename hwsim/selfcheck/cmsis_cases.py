"""CMSIS-NN's unit-test vectors as graphs: one case becomes one graph, an input and an output.

CMSIS-NN takes multipliers where hwsim takes scales. Scales are chosen so that the engine's own
`quantize_multiplier` returns the case's multiplier and shift, digit for digit; where none exist,
the case is refused.
"""

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsim.attributes import (
    Attrs,
    ClipAttrs,
    ConvAttrs,
    FullyConnectedAttrs,
    FusedAttrs,
    LstmAttrs,
    MatMulAttrs,
    NoAttrs,
    PadAttrs,
    PoolAttrs,
    ReshapeAttrs,
    SoftmaxAttrs,
    SvdfAttrs,
    TransposeAttrs,
    TransposeConvAttrs,
)
from hwsim.errors import FormatError
from hwsim.graph import Graph, Node, Value
from hwsim.multiplier import Multiplier, quantize_multiplier
from hwsim.ops import OPS, Op
from hwsim.profile import NumericProfile, ScaleProduct
from hwsim.quant import DType, IntType, QuantParams

Codes = NDArray[np.integer]
Params = Mapping[str, Any]

_GATES = ("input_gate", "forget_gate", "cell_gate", "output_gate")
_GATE_SCALE = 2.0**-12
_ACTIVATED_SCALE = 2.0**-15
# No accumulator of 64 bits is above 1/2 of it: the multiplier 0.
_NOTHING = 2.0**-100


@dataclass(frozen=True)
class Case:
    """One set of vectors, as `README.md` beside them describes it."""

    name: str
    operator: str
    dtype: str
    params: Params
    arrays: Mapping[str, Codes]


def read_cases(folder: Path) -> Iterator[Case]:
    """Read every case of a folder that holds `cases.json` and `cmsis_nn.npz`."""
    described = json.loads((folder / "cases.json").read_text("utf-8"))
    with np.load(folder / "cmsis_nn.npz", allow_pickle=False) as stored:
        for name, case in described.items():
            arrays = {key: stored[f"{name}/{key}"] for key in case["arrays"]}
            params = case.get("layers") or case["params"]
            yield Case(name, case["operator"], case["dtype"], params, arrays)


def with_given_multipliers(profile: NumericProfile) -> NumericProfile:
    """Return a profile that forms scale ratios in float64, so that no multiplier is rounded."""
    rules = {
        key: replace(rule, product=ScaleProduct.FLOAT64) for key, rule in profile.rules.items()
    }
    return replace(profile, rules=rules)


def graph_of(case: Case) -> tuple[Graph, dict[str, Codes]]:
    """Return the graph of a case and what it is fed; its only output is the case's.

    Raises:
        FormatError: If the case has parameters that no graph can have.
    """
    made = _Maker(case)
    try:
        build = _BUILDERS[case.operator]
    except KeyError as error:
        raise FormatError(
            f"operator must be one of {', '.join(_BUILDERS)}, not {case.operator!r}"
        ) from error
    return made.graph(build(made))


class _Maker:
    """Values and nodes of a graph while it grows."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.params = case.params
        self.values: dict[str, Value] = {}
        self.nodes: list[Node] = []
        self.feed: dict[str, Codes] = {}
        self.excess = 0
        self.activations = IntType(16 if case.dtype == "s16" else 8)
        self.weights = IntType(4 if case.dtype == "s4" else 8)

    def graph(self, out: str) -> tuple[Graph, dict[str, Codes]]:
        if self.excess:
            raise FormatError(f"zero point of the input must be a code of {self.activations}")
        graph = Graph(self.case.name, self.values, tuple(self.nodes), tuple(self.feed), (out,))
        return graph, self.feed

    def array(self, name: str) -> Codes:
        return self.case.arrays[name]

    def shape(self, name: str) -> tuple[int, ...]:
        return self.values[name].shape

    def input(self, name: str, codes: Codes, scale: float = 1.0, zero: int = 0) -> str:
        """Add an input of the case's activation type.

        What its zero point exceeds the type by is left to the bias of the node that reads it.
        """
        inside = min(max(zero, self.activations.min), self.activations.max)
        self.excess = zero - inside
        quant = QuantParams.per_tensor(scale, inside)
        self.values[name] = Value(name, codes.shape, self.activations, quant)
        self.feed[name] = np.ascontiguousarray(codes)
        return name

    def constant(
        self,
        name: str,
        codes: Codes,
        dtype: IntType,
        scales: Sequence[float] = (1.0,),
        zero: int = 0,
        axis: int | None = None,
    ) -> str:
        """Add a constant, with one scale per index of `axis` or one for all."""
        axis = None if len(scales) == 1 else axis
        quant = QuantParams(tuple(scales), (zero,) * len(scales), axis)
        data = np.ascontiguousarray(codes, dtype.storage)
        self.values[name] = Value(name, codes.shape, dtype, quant, data)
        return name

    def bias(self, name: str, sums: Codes | None = None) -> tuple[str, ...]:
        """Add a bias if there is one, and return the names to append to a node's inputs.

        Args:
            name: The bias in the case's arrays, where it may be absent.
            sums: Sum of the weights of each output channel, where every weight meets an input:
                sum((x - z) w) = sum((x - z') w) - (z - z') sum(w).
        """
        if self.excess and sums is not None:
            codes = self.case.arrays.get(name, np.zeros(sums.shape, np.int32))
            codes = (codes - self.excess * sums).astype(codes.dtype)
            self.excess = 0
        elif name in self.case.arrays:
            codes = self.array(name)
        else:
            return ()
        return (self.constant(name, codes, IntType(8 * codes.dtype.itemsize)),)

    def node(
        self,
        op: Op,
        attrs: Attrs,
        inputs: Sequence[str],
        quants: Sequence[tuple[DType, QuantParams | None]],
    ) -> tuple[str, ...]:
        """Add a node; its results have the given types and parameters."""
        shapes = OPS[op].infer(attrs, [self.values[name].shape for name in inputs if name])
        name = f"{op.value}_{len(self.nodes)}"
        names = tuple(name if slot == 0 else f"{name}:{slot}" for slot in range(len(shapes)))
        for made, shape, (dtype, quant) in zip(names, shapes, quants, strict=True):
            self.values[made] = Value(made, shape, dtype, quant)
        self.nodes.append(Node(name, op, tuple(inputs), names, attrs))
        return names

    def scaled(
        self, op: Op, attrs: Attrs, inputs: Sequence[str], scale: float = 1.0, zero: int = 0
    ) -> str:
        """Add a node whose result has the case's activation type.

        The type is wider where it does not hold the zero point; `clipped` narrows the codes.
        """
        quant = QuantParams.per_tensor(scale, zero)
        fits = self.activations.min <= zero <= self.activations.max
        dtype = self.activations if fits else IntType(16)
        return self.node(op, attrs, inputs, [(dtype, quant)])[0]

    def moved(self, op: Op, attrs: Attrs, x: str) -> str:
        """Add a node whose result has the parameters of its operand."""
        value = self.values[x]
        return self.node(op, attrs, [x], [(value.dtype, value.quant)])[0]

    def clipped(self, x: str, params: Params | None = None) -> str:
        """Clamp codes as the case says, where that is less than all of them."""
        params = self.params if params is None else params
        prefix = "out_activation" if "out_activation_min" in params else "activation"
        low, high = params.get(f"{prefix}_min"), params.get(f"{prefix}_max")
        dtype, quant = self.values[x].dtype, self.values[x].quant
        assert isinstance(dtype, IntType) and quant is not None
        if low is None or high is None or (low <= dtype.min and high >= dtype.max):
            return x
        (scale,), (zero,) = quant.scale, quant.zero_point
        attrs = ClipAttrs((low - zero) * scale, (high - zero) * scale)
        return self.moved(Op.CLIP, attrs, x)


def _ratio(multiplier: int, left_shift: int) -> float:
    """Return the scale ratio that becomes a multiplier and shift, exactly.

    Raises:
        FormatError: If none does.
    """
    if multiplier == 0:
        return _NOTHING
    ratio = math.ldexp(int(multiplier), int(left_shift) - 31)
    if quantize_multiplier(ratio) != Multiplier(int(multiplier), -int(left_shift)):
        raise FormatError(f"multiplier {multiplier} with shift {left_shift} must be normalized")
    return ratio


def _ratios(made: _Maker, prefix: str = "", params: Params | None = None) -> list[float]:
    """Return one ratio per output channel, or one for all."""
    if f"{prefix}output_mult" in made.case.arrays:
        pairs = zip(
            made.array(f"{prefix}output_mult").tolist(),
            made.array(f"{prefix}output_shift").tolist(),
            strict=True,
        )
        return [_ratio(*pair) for pair in pairs]
    return [_single(params or made.params, "output")]


def _single(params: Params, name: str) -> float:
    multiplier = (
        params[f"{name}_mult"] if f"{name}_mult" in params else params[f"{name}_multiplier"]
    )
    return _ratio(multiplier, params[f"{name}_shift"])


def _after(size: int, out: int, kernel: int, stride: int, dilation: int, before: int) -> int:
    """Return the padding behind an axis that makes `out` windows of it."""
    return max((out - 1) * stride + (kernel - 1) * dilation + 1 - size - before, 0)


def _window(
    params: Params, x: tuple[int, ...], out: tuple[int, int], kernel: tuple[int, int]
) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int, int, int]]:
    """Return stride, dilation and padding (top, left, bottom, right)."""
    stride = (_named(params, "stride_y", "stride_h"), _named(params, "stride_x", "stride_w"))
    dilation = (params.get("dilation_y", 1), params.get("dilation_x", 1))
    top = _named(params, "pad_y", "padding_h", "pad_h")
    left = _named(params, "pad_x", "padding_w", "pad_w")
    bottom = _after(x[1], out[0], kernel[0], stride[0], dilation[0], top)
    right = _after(x[2], out[1], kernel[1], stride[1], dilation[1], left)
    return stride, dilation, (top, left, bottom, right)


def _named(params: Params, *names: str) -> int:
    """Return the parameter under the first of its names that is there."""
    found: int = next(params[name] for name in names if name in params)
    return found


def _convolved(
    made: _Maker, op: Op, x: str, weights: Codes, out: tuple[int, int], params: Params, prefix: str
) -> str:
    """Add a convolution and its clamp."""
    kernel = (weights.shape[1], weights.shape[2])
    stride, dilation, padding = _window(params, made.shape(x), out, kernel)
    depthwise = op is Op.DEPTHWISE_CONV_2D
    groups = 1 if depthwise else made.shape(x)[3] // weights.shape[3]
    axis = 3 if depthwise else 0
    ratios = _ratios(made, prefix, params)
    name = made.constant(f"{prefix}weights", weights, made.weights, ratios, axis=axis)
    attrs = ConvAttrs(stride, dilation, padding, groups)
    others = tuple(i for i in range(4) if i != axis)
    sums = None if any(padding) else weights.sum(axis=others, dtype=np.int64)
    inputs = (x, name, *made.bias(f"{prefix}bias", sums))
    y = made.scaled(op, attrs, inputs, zero=params["output_offset"])
    return made.clipped(y, params)


def _conv(op: Op) -> Callable[[_Maker], str]:
    def build(made: _Maker) -> str:
        x = made.input("input", made.array("input"), zero=-made.params["input_offset"])
        out = made.array("output").shape[1:3]
        return _convolved(made, op, x, made.array("weights"), out, made.params, "")

    return build


def _transpose_conv(made: _Maker) -> str:
    params, weights = made.params, made.array("weights")
    x = made.input("input", made.array("input"), zero=-params["input_offset"])
    height, width = made.array("output").shape[1:3]
    stride, origin = (params["stride_y"], params["stride_x"]), (params["pad_y"], params["pad_x"])
    name = made.constant("weights", weights, made.weights, _ratios(made), axis=0)
    attrs = TransposeConvAttrs((height, width), stride, origin)
    inputs = (x, name, *made.bias("bias"))
    y = made.scaled(Op.TRANSPOSE_CONV, attrs, inputs, zero=params["output_offset"])
    return made.clipped(y)


def _connected(made: _Maker, x: str, weights: Codes, params: Params, prefix: str) -> str:
    """Add a fully connected operator and its clamp."""
    zero = -params.get("filter_offset", 0)
    ratios = _ratios(made, prefix, params)
    name = made.constant(f"{prefix}weights", weights, made.weights, ratios, zero, 0)
    sums = (weights.astype(np.int64) - zero).sum(axis=1)
    inputs = (x, name, *made.bias(f"{prefix}bias", sums))
    attrs = FullyConnectedAttrs()
    y = made.scaled(Op.FULLY_CONNECTED, attrs, inputs, zero=params["output_offset"])
    return made.clipped(y, params)


def _fully_connected(made: _Maker) -> str:
    x = made.input("input", made.array("input"), zero=-made.params["input_offset"])
    return _connected(made, x, made.array("weights"), made.params, "")


def _batch_matmul(made: _Maker) -> str:
    params = made.params
    lhs = made.input("lhs", made.array("lhs"), zero=-params["lhs_offset"])
    scale = _single(params, "output")
    rhs = made.input("rhs", made.array("rhs"), scale, -params["rhs_offset"])
    attrs = MatMulAttrs(bool(params["adj_x"]), bool(params["adj_y"]))
    y = made.scaled(Op.MATMUL, attrs, (lhs, rhs), zero=params["output_offset"])
    return made.clipped(y)


def _add(made: _Maker) -> str:
    """Add at a common scale t = 2 max(s_1, s_2): the larger operand's ratio must be 1/2."""
    params = made.params
    ratios = [_single(params, "input1"), _single(params, "input2")]
    shift = 15 if made.activations.bits == 16 else 20
    if params["left_shift"] != shift:
        raise FormatError(f"left_shift must be {shift}, not {params['left_shift']}")
    if max(ratios) != 0.5:
        raise FormatError(f"larger input ratio must be 1/2, not {max(ratios)}")
    out_scale = 2.0 / (_single(params, "output") * 2.0 ** params["left_shift"])
    names = [
        made.input(name, made.array(name), 2.0 * ratio, -params[f"{name}_offset"])
        for name, ratio in zip(("input1", "input2"), ratios, strict=True)
    ]
    y = made.scaled(Op.ADD, FusedAttrs(), names, out_scale, params["output_offset"])
    return made.clipped(y)


def _mul(made: _Maker) -> str:
    params = made.params
    a = made.input("input1", made.array("input1"), 1.0, -params["input1_offset"])
    scale = _single(params, "output")
    b = made.input("input2", made.array("input2"), scale, -params["input2_offset"])
    return made.clipped(made.scaled(Op.MUL, FusedAttrs(), (a, b), zero=params["output_offset"]))


def _pooled(made: _Maker, op: Op, x: str, out: tuple[int, int], params: Params) -> str:
    kernel = (params["filter_h"], params["filter_w"])
    stride, _, padding = _window(params, made.shape(x), out, kernel)
    return made.clipped(made.moved(op, PoolAttrs(kernel, stride, padding), x), params)


def _pool(op: Op) -> Callable[[_Maker], str]:
    def build(made: _Maker) -> str:
        x = made.input("input", made.array("input"))
        return _pooled(made, op, x, made.array("output").shape[1:3], made.params)

    return build


def _extreme(op: Op) -> Callable[[_Maker], str]:
    def build(made: _Maker) -> str:
        names = [made.input(name, made.array(name)) for name in ("input1", "input2")]
        return made.clipped(made.scaled(op, NoAttrs(), names))

    return build


def _softmaxed(made: _Maker, x: str, dtype: IntType) -> str:
    quant = QuantParams.per_tensor(2.0**-dtype.bits, dtype.min)
    if made.values[x].dtype == IntType(16):
        quant = QuantParams.per_tensor(2.0**-15)
    return made.node(Op.SOFTMAX, SoftmaxAttrs(), [x], [(dtype, quant)])[0]


def _softmax_scale(dtype: IntType, multiplier: int, left_shift: int) -> float:
    """Return the input's scale: 8-bit codes become Q5.26, 16-bit ones units of 10 / 65535."""
    ratio = _ratio(multiplier, left_shift)
    return ratio * (10.0 / 65535.0) if dtype.bits == 16 else ratio * 2.0**-26


def _softmax(made: _Maker) -> str:
    params = made.params
    scale = _softmax_scale(made.activations, params["input_mult"], params["input_left_shift"])
    x = made.input("input", made.array("input"), scale)
    return _softmaxed(made, x, IntType(8 * made.array("output").dtype.itemsize))


def _transpose(made: _Maker) -> str:
    x = made.input("input", made.array("input"))
    return made.moved(Op.TRANSPOSE, TransposeAttrs(tuple(made.params["perm"])), x)


def _pad(made: _Maker) -> str:
    before, after = (
        tuple(made.params[f"{side}_pad_{axis}"] for axis in "nhwc") for side in ("pre", "post")
    )
    x = made.input("input", made.array("input"))
    return made.moved(Op.PAD, PadAttrs(before, after, made.params["pad_value"]), x)


def _svdf(made: _Maker) -> str:
    """Chain one node per step; only the last output is compared."""
    params = made.params
    state_dtype = IntType(8 * made.array("state").dtype.itemsize)
    ends = (params["in_activation_min"], params["in_activation_max"])
    if ends != (state_dtype.min, state_dtype.max):
        raise FormatError(f"state must use every code of {state_dtype}, not {list(ends)}")
    into = _ratio(params["multiplier_in"], params["shift_1"])
    behind = _ratio(params["multiplier_out"], params["shift_2"])
    feature = made.constant("weights_feature", made.array("weights_feature"), IntType(8), [into])
    time = made.constant("weights_time", made.array("weights_time"), state_dtype, [behind])
    state = made.constant("state", made.array("state"), state_dtype)
    bias = made.bias("bias")
    attrs = SvdfAttrs(params["rank"])
    quants = [
        (IntType(8), QuantParams.per_tensor(1.0, params["output_offset"])),
        (state_dtype, QuantParams.per_tensor(1.0)),
    ]
    y = ""
    for step, codes in enumerate(made.array("input")):
        x = made.input(f"input_{step}", codes, zero=params["input_offset"])
        y, state = made.node(Op.SVDF, attrs, (x, feature, time, state, *bias), quants)
    return made.clipped(y)


def _lstm(made: _Maker) -> str:
    params, dtype = made.params, made.activations
    if _ratio(params["forget_to_cell_multiplier"], params["forget_to_cell_shift"]) != 2.0**-15:
        raise FormatError("forget gate must be multiplied by 2**-15")
    squared = _ACTIVATED_SCALE * _ACTIVATED_SCALE
    cell_scale = squared / _single(params, "input_to_cell")
    hidden_scale = squared / _single(params, "output")
    power = params["cell_scale_power"]
    if round(math.log2(cell_scale)) != power:
        raise FormatError(f"cell_scale_power must be that of {cell_scale:g}, not {power}")
    x = made.input("input", made.array("input"), zero=-params["input_zero_point"])
    if params["time_major"]:
        x = made.moved(Op.TRANSPOSE, TransposeAttrs((1, 0, 2)), x)
    inputs = [x]
    for kind, scale in (("input", 1.0), ("hidden", hidden_scale)):
        for gate in _GATES:
            name = f"{gate}_{kind}_weights"
            ratio = _single(params, f"{gate}_{kind}") * _GATE_SCALE / scale
            inputs.append(made.constant(name, made.array(name), IntType(8), [ratio]))
    zero = params["output_zero_point"]
    shape = (made.shape(x)[0], params["hidden_size"])
    hidden = np.full(shape, zero, dtype.storage)
    inputs.append(made.constant("hidden", hidden, dtype, [hidden_scale], zero))
    cell = np.zeros(shape, np.int16)
    inputs.append(made.constant("cell", cell, IntType(16), [cell_scale]))
    inputs += [next(iter(made.bias(f"{gate}_bias")), "") for gate in _GATES]
    # The clip is truncated to a code; half a code more is out of reach of rounding.
    attrs = LstmAttrs((params["cell_clip"] + 0.5) * cell_scale)
    quant = QuantParams.per_tensor(hidden_scale, zero)
    quants = [(dtype, quant), (dtype, quant), (IntType(16), QuantParams.per_tensor(cell_scale))]
    y = made.node(Op.LSTM, attrs, inputs, quants)[0]
    return made.moved(Op.TRANSPOSE, TransposeAttrs((1, 0, 2)), y) if params["time_major"] else y


def _network(made: _Maker) -> str:
    """Build layer after layer, in the order of the trailing number of their names."""
    layers = sorted(
        (int(name.rpartition("_")[2]), name.rpartition("_")[0], params)
        for name, params in made.params.items()
    )
    first = layers[0][2]
    shape = (-1, first["input_h"], first["input_w"], first["in_ch"])
    x = made.input("input", made.array("input").reshape(shape), zero=-first["input_offset"])
    for number, kind, params in layers:
        prefix = f"layer_{number}_{kind}_"
        made.case = replace(made.case, params=params)
        x = _layer(made, x, kind, params, prefix)
    return made.moved(Op.RESHAPE, ReshapeAttrs(made.array("output").shape), x)


def _layer(made: _Maker, x: str, kind: str, params: Params, prefix: str) -> str:
    if kind in ("conv_2d", "depthwise_conv_2d"):
        op = Op(kind)
        window = (params["filter_y"], params["filter_x"])
        shape = (1, *window, -1) if op is Op.DEPTHWISE_CONV_2D else (-1, *window, made.shape(x)[3])
        weights = made.array(f"{prefix}weights").reshape(shape)
        out = (params["output_h"], params["output_w"])
        return _convolved(made, op, x, weights, out, params, prefix)
    if kind in ("average_pool_2d", "max_pool_2d"):
        return _pooled(made, Op(kind), x, (params["output_h"], params["output_w"]), params)
    if kind == "fully_connected":
        units = made.array(f"{prefix}bias").size
        rows = made.array(f"{prefix}weights").reshape(units, -1)
        batch = math.prod(made.shape(x)) // rows.shape[1]
        flat = made.moved(Op.RESHAPE, ReshapeAttrs((batch, rows.shape[1])), x)
        return _connected(made, flat, rows, params, prefix)
    if kind == "softmax":
        scale = _softmax_scale(made.activations, params["mult"], params["shift"])
        # The same codes under the scale that the softmax was given a multiplier for.
        attrs, quant = ReshapeAttrs(made.shape(x)), QuantParams.per_tensor(scale)
        (logits,) = made.node(Op.RESHAPE, attrs, [x], [(made.activations, quant)])
        return _softmaxed(made, logits, made.activations)
    raise FormatError(f"layer must be a convolution, pool, product or softmax, not {kind!r}")


_BUILDERS: Mapping[str, Callable[[_Maker], str]] = MappingProxyType(
    {
        "conv": _conv(Op.CONV_2D),
        "grouped_conv": _conv(Op.CONV_2D),
        "depthwise_conv": _conv(Op.DEPTHWISE_CONV_2D),
        "transpose_conv": _transpose_conv,
        "fully_connected": _fully_connected,
        "batch_matmul": _batch_matmul,
        "add": _add,
        "mul": _mul,
        "avg_pool": _pool(Op.AVERAGE_POOL_2D),
        "max_pool": _pool(Op.MAX_POOL_2D),
        "maximum": _extreme(Op.MAXIMUM),
        "minimum": _extreme(Op.MINIMUM),
        "softmax": _softmax,
        "transpose": _transpose,
        "pad": _pad,
        "svdf": _svdf,
        "lstm": _lstm,
        "network": _network,
    }
)
