"""Readers of ONNX operators on codes: QLinear operators, integer products, conversions.

Operators of com.microsoft are ONNX Runtime's own. Those of the domain `BETWEEN` are our name for a
float operator between DequantizeLinear and QuantizeLinear (`hwsim.formats.onnx_qdq`); their inputs
are (x, x_scale, x_zero_point, ..., y_scale, y_zero_point).
"""

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from hwsim.attributes import (
    Attrs,
    ConcatAttrs,
    FullyConnectedAttrs,
    FusedAttrs,
    GeluAttrs,
    LeakyReluAttrs,
    MatMulAttrs,
    MeanAttrs,
    NoAttrs,
    ReshapeAttrs,
    TransposeAttrs,
)
from hwsim.errors import FormatError, shown
from hwsim.formats.onnx_arithmetic import clip_bounds, clip_of_codes, emit_softmax
from hwsim.formats.onnx_builder import REALS, Builder, Kind, Names, Reader, check_axis
from hwsim.formats.onnx_codes import (
    COUNTS,
    as_codes,
    bias_codes,
    code_literal,
    params,
    type_of,
    type_of_array,
)
from hwsim.formats.onnx_images import conv_layout, pool_layout
from hwsim.formats.onnx_moves import pad_layout
from hwsim.formats.onnx_schema import CODES
from hwsim.layout import SUFFIX
from hwsim.multiplier import float32_product
from hwsim.ops import Op
from hwsim.quant import (
    INT32,
    UINT8,
    IntType,
    QuantParams,
    Rounding,
    dequantize_array,
    quantize_array,
)

MICROSOFT = "com.microsoft"
BETWEEN = "hwsim.between"


def _operand(b: Builder, names: Names, slot: int, what: str) -> str:
    """Return a per-tensor operand, its scale and zero point in the two inputs behind it."""
    quant, _ = params(b, names, slot + 1, what, type_of(b, names[slot]))
    return as_codes(b, names[slot], quant)


def _output(b: Builder, names: Names, slot: int, x: str) -> Kind:
    """Return what an operator makes, from its y_scale and y_zero_point; `x` lends its type."""
    given = slot + 1 < len(names) and names[slot + 1]
    quant, dtype = params(b, names, slot, "y", None if given else type_of(b, x))
    return Kind(dtype, quant)


# Conversions


def read_quantize(b: Builder, node: onnx.NodeProto, names: Names) -> None:
    """Read QuantizeLinear: of constants, of reals, or of codes just dequantized."""
    attrs = b.attributes(node)
    out, x = node.output[0], names[0]
    wanted = CODES.get(int(attrs.get("output_dtype", 0)))
    block = int(attrs.get("block_size", 0))
    if block:
        _read_blocked(b, node, names, wanted)
        return
    quant, dtype = _quant_of(b, names, attrs, wanted, "y")
    if x in b.constants:
        reals = b.constants[x]
        if reals.dtype.kind != "f":
            raise FormatError(f"x must hold reals, not {reals.dtype}")
        codes = quantize_array(reals.astype(np.float32), dtype, quant, Rounding.HALF_EVEN)
        b.add_constant(out, codes)
        b.narrow[out] = dtype
        return
    b.quantized = True
    source = b.dequantized.get(x, x)
    if Kind(b.values[source].dtype, b.values[source].quant) == Kind(dtype, quant):
        # The very codes that were dequantized: nothing is left to do.
        if source == f"{x}/codes" and x not in b.aliases.values():
            b.retitle(source, out)
            b.dequantized[x] = out
            b.aliases[source] = out
        else:
            b.aliases[out] = source
        return
    b.emit(Op.QUANTIZE, NoAttrs(), (source,), (out,), (Kind(dtype, quant),))


def _quant_of(
    b: Builder, names: Names, attrs: Mapping[str, Any], dtype: IntType | None, what: str
) -> tuple[QuantParams, IntType]:
    """Return parameters per tensor or per index of the attribute `axis`, and the codes' type."""
    shape = b.shape(names[0])
    scale = b.constant(names, 1, f"{what}_scale")
    if scale.ndim != 1 or scale.size == 1:
        return params(b, names, 1, what, dtype)
    axis = int(attrs.get("axis", 1))
    check_axis(axis, len(shape))
    axis %= len(shape)
    return params(b, names, 1, what, dtype, axis, shape[axis])


def read_dequantize(b: Builder, node: onnx.NodeProto, names: Names) -> None:
    """Read DequantizeLinear; constants are dequantized at once."""
    attrs = b.attributes(node)
    out, x = node.output[0], names[0]
    dtype = type_of(b, x)
    if int(attrs.get("block_size", 0)):
        _read_blocked(b, node, names, dtype)
        return
    quant, _ = _quant_of(b, names, attrs, dtype, "x")
    if x in b.constants:
        b.add_constant(out, dequantize_array(b.constants[x], quant))
        return
    b.quantized = True
    codes = as_codes(b, x, quant)
    b.dequantized[out] = codes
    b.emit(Op.DEQUANTIZE, NoAttrs(), (codes,), (out,), (REALS,))


def _read_blocked(b: Builder, node: onnx.NodeProto, names: Names, wanted: IntType | None) -> None:
    """Read a conversion with one scale per block along an axis.

    Blocks become the indices of one axis, are converted with a scale per index, and go back.
    """
    attrs = b.attributes(node)
    out, x = node.output[0], names[0]
    shape = b.shape(x)
    axis, block = int(attrs.get("axis", 1)), int(attrs["block_size"])
    check_axis(axis, len(shape))
    axis %= len(shape)
    if block < 1 or shape[axis] % block:
        raise FormatError(
            f"block_size must divide {shape[axis]} elements of axis {axis}, not {block}"
        )
    scales = b.constant(names, 1, "scale")
    counts = (*shape[:axis], shape[axis] // block, *shape[axis + 1 :])
    if scales.shape != counts or scales.dtype.kind != "f":
        raise FormatError(
            f"scale must be floats of shape {counts}, not {scales.dtype} of shape {scales.shape}"
        )
    zeros = b.optional(names, 2, "zero_point")
    if zeros is not None and zeros.shape != counts:
        raise FormatError(f"zero_point must have shape {counts}, not {zeros.shape}")
    if zeros is not None:
        given = type_of_array(b, names[2])
        if wanted is not None and given != wanted:
            raise FormatError(f"zero_point must be {wanted} like the codes, not {given}")
        wanted = given
    dtype = wanted or UINT8
    points = (0,) * scales.size if zeros is None else tuple(int(z) for z in zeros.ravel())
    quant = QuantParams(tuple(float(np.float32(s)) for s in scales.ravel()), points, 0)
    if x in b.constants:
        _fold_blocked(b, node, names, axis, block)
        return
    b.quantized = True
    # (.., blocks, block, ..) -> (.., blocks, .., block) -> (all blocks, block), and back
    split = (*shape[:axis], shape[axis] // block, block, *shape[axis + 1 :])
    perm = (*range(axis + 1), *range(axis + 2, len(split)), axis + 1)
    back = tuple(perm.index(index) for index in range(len(perm)))
    moved = tuple(split[index] for index in perm)
    loose = Kind(b.values[x].dtype, COUNTS) if not b.values[x].is_float else REALS
    quantizes = node.op_type == "QuantizeLinear"
    made = Kind(dtype, COUNTS) if quantizes else REALS
    before = Kind(dtype, quant) if not quantizes else loose
    after = Kind(dtype, quant) if quantizes else REALS
    if not quantizes and b.values[x].quant is None:
        as_codes(b, x, COUNTS)
    op = Op.QUANTIZE if quantizes else Op.DEQUANTIZE
    b.emit(Op.RESHAPE, ReshapeAttrs(split), (x,), (f"{out}/split",), (loose,))
    b.emit(Op.TRANSPOSE, TransposeAttrs(perm), (f"{out}/split",), (f"{out}/moved",), (loose,))
    rows = ReshapeAttrs((scales.size, block))
    b.emit(Op.RESHAPE, rows, (f"{out}/moved",), (f"{out}/rows",), (before,))
    b.emit(op, NoAttrs(), (f"{out}/rows",), (f"{out}/converted",), (after,))
    b.emit(Op.RESHAPE, ReshapeAttrs(moved), (f"{out}/converted",), (f"{out}/whole",), (made,))
    b.emit(Op.TRANSPOSE, TransposeAttrs(back), (f"{out}/whole",), (f"{out}/back",), (made,))
    b.emit(Op.RESHAPE, ReshapeAttrs(shape), (f"{out}/back",), (out,), (made,))


def _fold_blocked(b: Builder, node: onnx.NodeProto, names: Names, axis: int, block: int) -> None:
    """File the reals of constant codes with one scale per block."""
    if node.op_type == "QuantizeLinear":
        raise FormatError("x must be computed where blocks have scales of their own")
    scales = np.repeat(b.constants[names[1]].astype(np.float32), block, axis)
    codes = b.constants[names[0]].astype(np.int64)
    zeros = b.optional(names, 2, "zero_point")
    if zeros is not None:
        codes = codes - np.repeat(zeros.astype(np.int64), block, axis)
    b.add_constant(node.output[0], codes.astype(np.float32) * scales)


def read_dynamic_quantize(b: Builder, node: onnx.NodeProto, names: Names) -> None:
    """Read DynamicQuantizeLinear, whose codes, scale and zero point are known at run time alone."""
    b.quantized = True
    outputs = tuple(name or f"{node.output[0]}/{slot}" for slot, name in enumerate(node.output))
    if len(outputs) != 3:
        raise FormatError(f"outputs must be 3, not {len(outputs)}")
    kinds = (Kind(UINT8), REALS, Kind(UINT8, COUNTS))
    b.emit(Op.DYNAMIC_QUANTIZE, NoAttrs(), (b.operand(names[0]),), outputs, kinds)


# Products


def _unit(x: QuantParams, weights: QuantParams) -> list[float]:
    return [float32_product(x.scale[0], scale) for scale in weights.scale]


def read_qlinear_conv(b: Builder, node: onnx.NodeProto, names: Names) -> None:
    """Read QLinearConv with constant weights."""
    x = _operand(b, names, 0, "x")
    out = _output(b, names, 6, x)
    _conv(b, node, names, x, (3, 4, 8), out)


def read_conv_integer(b: Builder, node: onnx.NodeProto, names: Names) -> None:
    """Read ConvInteger: accumulators themselves."""
    x = _centered(b, names, 0, 2, "x")
    _conv(b, node, names, x, (1, None, None), Kind(INT32, COUNTS), zero_slot=3)


def _centered(b: Builder, names: Names, slot: int, zero_slot: int, what: str) -> str:
    """Return an operand that has a zero point and no scale."""
    quant, _ = _counted(b, names, zero_slot, what, type_of(b, names[slot]))
    if not quant.is_per_tensor:
        raise FormatError(f"{what}_zero_point must be one code, not {len(quant.zero_point)}")
    return as_codes(b, names[slot], quant)


def _counted(
    b: Builder, names: Names, slot: int, what: str, dtype: IntType, axis: int = 0, length: int = 0
) -> tuple[QuantParams, IntType]:
    """Return parameters of scale 1 from a zero point alone."""
    zero = b.optional(names, slot, f"{what}_zero_point")
    if zero is None:
        return COUNTS, dtype
    given = type_of_array(b, names[slot])
    if given != dtype:
        raise FormatError(f"{what}_zero_point must be {dtype} like the codes, not {given}")
    if zero.size == 1:
        return QuantParams.per_tensor(1.0, int(zero.ravel()[0])), dtype
    if zero.ndim != 1 or zero.size != length:
        raise FormatError(f"{what}_zero_point must hold 1 or {length} codes, not {zero.size}")
    return QuantParams((1.0,) * length, tuple(map(int, zero)), axis), dtype


def _conv(
    b: Builder,
    node: onnx.NodeProto,
    names: Names,
    x: str,
    slots: tuple[int, int | None, int | None],
    kind: Kind,
    zero_slot: int = 0,
) -> None:
    """Emit a convolution of codes; `slots` are those of weights, their scale and the bias."""
    slot, scale_slot, bias_slot = slots
    b.quantized = True
    weights = b.constant(names, slot, "weights")
    op, packed, attrs, suffix = conv_layout(b.attributes(node), b.shape(x), weights)
    dtype = type_of_array(b, names[slot])
    axis, channels = (3 if op is Op.DEPTHWISE_CONV_2D else 0), weights.shape[0]
    if scale_slot is None:
        quant, _ = _counted(b, names, zero_slot, "w", dtype, axis, channels)
    else:
        quant, _ = params(b, names, scale_slot, "w", dtype, axis, channels)
    out = node.output[0]
    given = b.values[x].quant
    assert given is not None
    literal = code_literal(b, f"{names[slot]}{suffix}", packed, Kind(dtype, quant))
    inputs = [b.to_nhwc(x), literal]
    if bias_slot is not None:
        bias = bias_codes(b, names, bias_slot, channels, _unit(given, quant))
        if bias is not None:
            inputs.append(code_literal(b, names[bias_slot], bias, Kind(INT32)))
    b.emit(op, attrs, inputs, (f"{out}{SUFFIX}",), (kind,))
    b.from_nhwc(f"{out}{SUFFIX}", out)


def read_qlinear_matmul(b: Builder, node: onnx.NodeProto, names: Names) -> None:
    """Read QLinearMatMul; a constant matrix on the right may have a scale per column."""
    a = _operand(b, names, 0, "a")
    kind = _output(b, names, 6, a)
    b.quantized = True
    if _is_matrix(b, names[3]):
        dtype = type_of_array(b, names[3])
        matrix = b.constants[names[3]]
        quant, _ = params(b, names, 4, "b", dtype, 0, matrix.shape[1])
        _fully_connected(b, node, a, names[3], matrix.T, Kind(dtype, quant), None, kind)
        return
    right = _operand(b, names, 3, "b")
    b.emit(Op.MATMUL, MatMulAttrs(), (a, right), (node.output[0],), (kind,))


def read_matmul_integer(b: Builder, node: onnx.NodeProto, names: Names) -> None:
    """Read MatMulInteger: accumulators themselves."""
    a = _centered(b, names, 0, 2, "a")
    b.quantized = True
    kind = Kind(INT32, COUNTS)
    if _is_matrix(b, names[1]):
        dtype = type_of_array(b, names[1])
        matrix = b.constants[names[1]]
        quant, _ = _counted(b, names, 3, "b", dtype, 0, matrix.shape[1])
        _fully_connected(b, node, a, names[1], matrix.T, Kind(dtype, quant), None, kind)
        return
    right = _centered(b, names, 1, 3, "b")
    b.emit(Op.MATMUL, MatMulAttrs(), (a, right), (node.output[0],), (kind,))


def _is_matrix(b: Builder, name: str) -> bool:
    return name in b.constants and b.constants[name].ndim == 2


def _fully_connected(
    b: Builder,
    node: onnx.NodeProto,
    x: str,
    name: str,
    rows: NDArray[Any],
    weights: Kind,
    bias: tuple[str, NDArray[Any]] | None,
    kind: Kind,
) -> None:
    inputs = [x, code_literal(b, f"{name}/rows", rows, weights)]
    if bias is not None:
        inputs.append(code_literal(b, bias[0], bias[1], Kind(INT32)))
    b.emit(Op.FULLY_CONNECTED, FullyConnectedAttrs(), inputs, (node.output[0],), (kind,))


def read_qgemm(b: Builder, node: onnx.NodeProto, names: Names) -> None:
    """Read QGemm with constant weights."""
    attrs = b.attributes(node)
    if float(attrs.get("alpha", 1.0)) != 1.0 or attrs.get("transA", 0):
        raise FormatError("alpha must be 1 and transA 0")
    if len(names) < 8 or not names[7]:
        raise FormatError("y_scale must be given; a product of codes kept in float is not read")
    a = _operand(b, names, 0, "a")
    kind = _output(b, names, 7, a)
    matrix = b.constant(names, 3, "weights")
    if matrix.ndim != 2:
        raise FormatError(f"weights must have 2 axes, not {matrix.ndim}")
    rows = matrix if attrs.get("transB", 0) else matrix.T
    dtype = type_of_array(b, names[3])
    quant, _ = params(b, names, 4, "b", dtype, 0, rows.shape[0])
    given = b.values[a].quant
    assert given is not None
    bias = bias_codes(b, names, 6, rows.shape[0], _unit(given, quant))
    b.quantized = True
    named = None if bias is None else (names[6], bias)
    _fully_connected(b, node, a, names[3], rows, Kind(dtype, quant), named, kind)


# Elementwise operators


def read_qlinear_binary(op: Op) -> Reader:
    """Return the reader of QLinearAdd, QLinearMul, or Sub between conversions."""

    def read(b: Builder, node: onnx.NodeProto, names: Names) -> None:
        operands = [_operand(b, names, 0, "a"), _operand(b, names, 3, "b")]
        kind = _output(b, names, 6, operands[0])
        if op is Op.ADD and _first_is_scalar(*(b.shape(name) for name in operands)):
            operands.reverse()  # the order in which ONNX Runtime adds
        b.quantized = True
        b.emit(op, FusedAttrs(), operands, (node.output[0],), (kind,))

    return read


def _first_is_scalar(a: Sequence[int], b: Sequence[int]) -> bool:
    """Whether ONNX Runtime's broadcast loop sees the first operand as a scalar.

    It does where the first is 1 along the last axis that is not 1 for both.
    """
    rank = max(len(a), len(b))
    left, right = (1,) * (rank - len(a)) + tuple(a), (1,) * (rank - len(b)) + tuple(b)
    for p, q in zip(reversed(left), reversed(right), strict=True):
        if max(p, q) > 1:
            return p == 1
    return True


def read_unary_codes(op: Op) -> Reader:
    """Return the reader of a function of one operand."""

    def read(b: Builder, node: onnx.NodeProto, names: Names) -> None:
        x = _operand(b, names, 0, "x")
        kind = _output(b, names, 3, x)
        given = b.attributes(node)
        attrs: Attrs = NoAttrs()
        if op is Op.LEAKY_RELU:
            attrs = LeakyReluAttrs(float(given.get("alpha", 0.01)))
        elif op is Op.GELU:
            mode = given.get("approximate", "none")
            if mode not in ("none", "tanh"):
                raise FormatError(f"approximate must be none or tanh, not {shown(str(mode))}")
            attrs = GeluAttrs(mode == "tanh")
        b.quantized = True
        b.emit(op, attrs, (x,), (node.output[0],), (kind,))

    return read


def read_pad_codes(b: Builder, node: onnx.NodeProto, names: Names) -> None:
    """Read a Pad with zeros between conversions: codes are requantized, then padded with zero."""
    x = _operand(b, names, 0, "x")
    kind = _output(b, names, 3, x)
    attrs = pad_layout(b, node, [x, *names[5:]])
    if attrs.value is not None:
        raise FormatError(f"value must be 0 between conversions, not {attrs.value}")
    b.quantized = True
    out, value = node.output[0], b.values[x]
    if kind != Kind(value.dtype, value.quant):
        b.emit(Op.QUANTIZE, NoAttrs(), (x,), (f"{out}/requantized",), (kind,))
        x = f"{out}/requantized"
    b.emit(Op.PAD, attrs, (x,), (out,), (kind,))


def read_clamp_codes(b: Builder, node: onnx.NodeProto, names: Names) -> None:
    """Read Relu or Clip between conversions: codes are requantized, then clamped.

    Rounding keeps order, so a clamp of reals is one of codes at the quantized bounds.
    """
    x = _operand(b, names, 0, "x")
    kind = _output(b, names, 3, x)
    assert isinstance(kind.dtype, IntType) and kind.quant is not None
    low, high = 0.0, math.inf
    if node.op_type == "Clip":
        low, high = clip_bounds(b, node, [names[0], *names[5:]])
    b.quantized = True
    out, value = node.output[0], b.values[x]
    if kind != Kind(value.dtype, value.quant):
        b.emit(Op.QUANTIZE, NoAttrs(), (x,), (f"{out}/requantized",), (kind,))
        x = f"{out}/requantized"
    reals = np.array([low, high], np.float32)
    ends = np.clip(reals, np.finfo(np.float32).min, np.finfo(np.float32).max)
    first, last = quantize_array(ends, kind.dtype, kind.quant, Rounding.HALF_EVEN)
    if (first, last) == (kind.dtype.min, kind.dtype.max):
        b.aliases[out] = x
        return
    b.emit(Op.CLIP, clip_of_codes(int(first), int(last), kind), (x,), (out,), (kind,))


def read_qlinear_softmax(b: Builder, node: onnx.NodeProto, names: Names) -> None:
    """Read QLinearSoftmax."""
    x = _operand(b, names, 0, "x")
    attrs = b.attributes(node)
    opset = int(attrs.get("opset", b.opset))
    axis = int(attrs.get("axis", -1 if opset >= 13 else 1))
    b.quantized = True
    emit_softmax(b, x, axis, opset, node.output[0], _output(b, names, 3, x))


def read_qlinear_concat(b: Builder, node: onnx.NodeProto, names: Names) -> None:
    """Read QLinearConcat: (y_scale, y_zero_point, then three inputs for each part)."""
    if len(names) < 5 or (len(names) - 2) % 3:
        raise FormatError(f"inputs must be 2 and 3 for each part, not {len(names)}")
    parts = [_operand(b, names, slot, f"x{slot // 3}") for slot in range(2, len(names), 3)]
    kind = _output(b, names, 0, parts[0])
    rank = len(b.shape(parts[0]))
    axis = int(b.attributes(node).get("axis", 0))
    check_axis(axis, rank)
    b.quantized = True
    b.emit(Op.CONCATENATION, ConcatAttrs(axis % rank), parts, (node.output[0],), (kind,))


# Pools


def read_qlinear_average_pool(b: Builder, node: onnx.NodeProto, names: Names) -> None:
    """Read QLinearAveragePool of NCHW images."""
    x = _operand(b, names, 0, "x")
    kind = _output(b, names, 3, x)
    attrs = _channels_first(b, node)
    pool = pool_layout(attrs, b.shape(x))
    b.quantized = True
    out = node.output[0]
    b.emit(Op.AVERAGE_POOL_2D, pool, (b.to_nhwc(x),), (f"{out}{SUFFIX}",), (kind,))
    b.from_nhwc(f"{out}{SUFFIX}", out)


def read_qlinear_global_pool(b: Builder, node: onnx.NodeProto, names: Names) -> None:
    """Read QLinearGlobalAveragePool of NCHW images."""
    x = _operand(b, names, 0, "x")
    kind = _output(b, names, 3, x)
    _channels_first(b, node)
    b.quantized = True
    axes = tuple(range(2, len(b.shape(x))))
    b.emit(Op.MEAN, MeanAttrs(axes, True), (x,), (node.output[0],), (kind,))


def _channels_first(b: Builder, node: onnx.NodeProto) -> dict[str, Any]:
    attrs = b.attributes(node)
    if attrs.get("channels_last", 0):
        raise FormatError("channels_last must be 0, not 1")
    return attrs


QUANTIZED: Mapping[tuple[str, str], Reader] = MappingProxyType(
    {
        ("", "ConvInteger"): read_conv_integer,
        ("", "DequantizeLinear"): read_dequantize,
        ("", "DynamicQuantizeLinear"): read_dynamic_quantize,
        ("", "MatMulInteger"): read_matmul_integer,
        ("", "QLinearConv"): read_qlinear_conv,
        ("", "QLinearMatMul"): read_qlinear_matmul,
        ("", "QuantizeLinear"): read_quantize,
        (MICROSOFT, "DequantizeLinear"): read_dequantize,
        (MICROSOFT, "QGemm"): read_qgemm,
        (MICROSOFT, "QLinearAdd"): read_qlinear_binary(Op.ADD),
        (MICROSOFT, "QLinearAveragePool"): read_qlinear_average_pool,
        (MICROSOFT, "QLinearConcat"): read_qlinear_concat,
        (MICROSOFT, "QLinearGlobalAveragePool"): read_qlinear_global_pool,
        (MICROSOFT, "QLinearLeakyRelu"): read_unary_codes(Op.LEAKY_RELU),
        (MICROSOFT, "QLinearMul"): read_qlinear_binary(Op.MUL),
        (MICROSOFT, "QLinearSigmoid"): read_unary_codes(Op.LOGISTIC),
        (MICROSOFT, "QLinearSoftmax"): read_qlinear_softmax,
        (MICROSOFT, "QuantizeLinear"): read_quantize,
        (BETWEEN, "Clip"): read_clamp_codes,
        (BETWEEN, "Gelu"): read_unary_codes(Op.GELU),
        (BETWEEN, "HardSwish"): read_unary_codes(Op.HARD_SWISH),
        (BETWEEN, "Pad"): read_pad_codes,
        (BETWEEN, "Relu"): read_clamp_codes,
        (BETWEEN, "Sub"): read_qlinear_binary(Op.SUB),
        (BETWEEN, "Tanh"): read_unary_codes(Op.TANH),
    }
)
