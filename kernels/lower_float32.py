"""Lowering of operators on codes that ONNX Runtime computes in float32.

Source: onnxruntime/contrib_ops/cpu/quantization and core/mlas/lib, measured against 1.31.1.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsim.attributes import PoolAttrs, SoftmaxAttrs
from hwsim.graph import Value
from hwsim.multiplier import float32_product, float32_quotient
from hwsim.ops import Op
from hwsim.quant import (
    FLOAT32,
    UINT8,
    IntType,
    QuantParams,
    Rounding,
    dequantize_array,
    quantize_array,
)

from .arith import Scaling
from .elementwise import look_up
from .float32 import add_ratios, average_pool_float32, multiply_ratio, softmax_table_rows
from .lower_linear import Array, Lowered, Step
from .pool import mean_rows
from .scaling import Site, fixed_scaling, output_range

# Larger ratios move one code across the whole range; they would leave int64 and mean nothing.
MAX_RATIO = float(1 << 40)
_EXP_RESERVE = 5.0  # natural exponents kept free below float32's largest number


def flat(array: Array, shape: tuple[int, ...]) -> Array:
    """Return an operand broadcast to a shape, as one contiguous row."""
    return np.ascontiguousarray(np.broadcast_to(array, shape)).reshape(-1)


def _ratio(site: Site, value: float) -> float:
    if not value < MAX_RATIO:
        raise site.fail(f"scale ratio must be below {MAX_RATIO:g}, not {value:g}")
    return value


def params_of(site: Site, value: Value) -> QuantParams:
    """Return the parameters of a per-tensor value."""
    site.scale_of(value)
    assert value.quant is not None
    return value.quant


def lower_add_ratios(site: Site) -> Step:
    """Lower ADD as QLinearAdd: each code times its scale ratio, zero points in one offset."""
    a, b, out = site.operand(0), site.operand(1), site.result()
    scale = site.scale_of(out)
    a_ratio = _ratio(site, float32_quotient(site.scale_of(a), scale))
    b_ratio = _ratio(site, float32_quotient(site.scale_of(b), scale))
    # The compiler fuses the first product with the sum: one rounding for both.
    b_offset = float32_product(b_ratio, int(site.zero_of(b)))
    offset = float(np.float32(a_ratio * int(site.zero_of(a)) + b_offset))
    offset = float(np.float32(int(site.zero_of(out))) - np.float32(offset))
    qmin, qmax = output_range(site, site.node.attrs.activation)  # type: ignore[union-attr]

    def step(arrays: Sequence[Array]) -> tuple[Array, ...]:
        made = np.empty(out.elements, out.dtype.storage)
        left, right = flat(arrays[0], out.shape), flat(arrays[1], out.shape)
        add_ratios(left, right, a_ratio, b_ratio, offset, qmin, qmax, made)
        return (made.reshape(out.shape),)

    return step


def lower_mul_ratio(site: Site) -> Step:
    """Lower MUL as QLinearMul: the product times one ratio, plus the zero point, then rounded."""
    a, b, out = site.operand(0), site.operand(1), site.result()
    product = float32_product(site.scale_of(a), site.scale_of(b))
    ratio = _ratio(site, float32_quotient(product, site.scale_of(out)))
    a_zero, b_zero, offset = site.zero_of(a), site.zero_of(b), float(site.zero_of(out))
    qmin, qmax = output_range(site, site.node.attrs.activation)  # type: ignore[union-attr]

    def step(arrays: Sequence[Array]) -> tuple[Array, ...]:
        made = np.empty(out.elements, out.dtype.storage)
        left, right = flat(arrays[0], out.shape), flat(arrays[1], out.shape)
        multiply_ratio(left, right, a_zero, b_zero, ratio, offset, qmin, qmax, made)
        return (made.reshape(out.shape),)

    return step


def lower_binary_reals(site: Site) -> Step:
    """Lower ADD, SUB or MUL between dequantized operands; the result is quantized again."""
    a, b, out = site.operand(0), site.operand(1), site.result()
    left, right, params = params_of(site, a), params_of(site, b), params_of(site, out)
    compute = {Op.ADD: np.add, Op.SUB: np.subtract, Op.MUL: np.multiply}[site.op]
    dtype = site.integer(out)
    qmin, qmax = output_range(site, site.node.attrs.activation)  # type: ignore[union-attr]

    def step(arrays: Sequence[Array]) -> tuple[Array, ...]:
        reals = compute(dequantize_array(arrays[0], left), dequantize_array(arrays[1], right))
        codes = quantize_array(np.asarray(reals), dtype, params, Rounding.HALF_EVEN)
        return (np.clip(codes, qmin, qmax),)

    return step


def requantized(site: Site, reals: NDArray[np.float32]) -> NDArray[np.integer]:
    """Return a table's output codes: divided by the scale in float32, ties to even."""
    out = site.result()
    return quantize_array(reals, site.integer(out), params_of(site, out), Rounding.HALF_EVEN)


def all_reals(site: Site, value: Value) -> NDArray[np.float32]:
    """Return the reals of every code of at most 16 bits, smallest first."""
    dtype = site.integer(value)
    if dtype.bits > 16:
        raise site.fail(f"{value.name!r} must hold codes of at most 16 bits, not {dtype.bits}")
    codes = np.arange(dtype.min, dtype.max + 1)
    return dequantize_array(codes, params_of(site, value))


def lower_codes_table(site: Site, table: NDArray[np.integer]) -> Lowered:
    """Return the step that replaces every code by its entry."""
    x, out = site.operand(0), site.result()
    first: Any = np.int64(site.integer(x).min)

    def step(arrays: Sequence[Array]) -> tuple[Array, ...]:
        made = np.empty(out.elements, out.dtype.storage)
        look_up(np.ascontiguousarray(arrays[0]).reshape(-1), table, first, made)
        return (made.reshape(out.shape),)

    return Lowered(step, {"table": table})


def joined_codes(site: Site, part: Value) -> NDArray[np.integer]:
    """Return the output code of every code of one part of a CONCATENATION."""
    if part.quant == site.result().quant:
        dtype = site.integer(part)
        return np.arange(dtype.min, dtype.max + 1).astype(dtype.storage)
    return requantized(site, all_reals(site, part))


def mean_ratio_scaling(site: Site, axes: Sequence[int]) -> Scaling:
    """Return the scaling of a sum by s_x / (s_out * n) in float32."""
    x, out = site.operand(0), site.result()
    count = math.prod(x.shape[axis] for axis in axes)
    ratio = float32_quotient(site.scale_of(x), float32_product(site.scale_of(out), count))
    dtype = site.integer(out)
    zero_point = int(site.zero_of(out))
    return fixed_scaling(site.rule, [ratio], zero_point, dtype.min, dtype.max)


def lower_mean_ratio(site: Site, axes: Sequence[int]) -> Step:
    """Lower a mean as QLinearGlobalAveragePool: the sum times a ratio in float32."""
    x, out = site.operand(0), site.result()
    count = math.prod(x.shape[axis] for axis in axes)
    scaling = mean_ratio_scaling(site, axes)
    x_zero = site.zero_of(x)
    kept = tuple(axis for axis in range(len(x.shape)) if axis not in axes)

    def step(arrays: Sequence[Array]) -> tuple[Array, ...]:
        rows = np.ascontiguousarray(arrays[0].transpose(*kept, *axes)).reshape(-1, count)
        made = np.empty(rows.shape[0], out.dtype.storage)
        mean_rows(rows, x_zero, scaling, made)
        return (made.reshape(out.shape),)

    return step


def lower_average_pool_reals(site: Site) -> Step:
    """Lower AVERAGE_POOL_2D as QLinearAveragePool; a window as large as the image is a mean."""
    attrs = site.node.attrs
    assert isinstance(attrs, PoolAttrs)
    x, out = site.operand(0), site.result()
    if attrs.kernel == x.shape[1:3] and not any(attrs.padding):
        return lower_mean_ratio(site, (1, 2))
    reals = all_reals(site, x)
    first: Any = np.int64(site.integer(x).min)
    scale, offset = site.scale_of(out), float(site.zero_of(out))
    largest = float(np.abs(reals).max())
    _ratio(site, float32_quotient(largest * attrs.kernel[0] * attrs.kernel[1], scale))
    qmin, qmax = output_range(site, attrs.activation)

    def step(arrays: Sequence[Array]) -> tuple[Array, ...]:
        made = np.empty(out.shape, out.dtype.storage)
        average_pool_float32(
            arrays[0], attrs.kernel, attrs.stride, attrs.padding[:2], attrs.count_padding, reals,
            first, scale, offset, qmin, qmax, made,
        )  # fmt: skip
        return (made,)

    return step


def softmax_table(scale: float, classes: int) -> NDArray[np.float32]:
    """Return exp of every difference to a row's largest code; entry 255 is the largest code's.

    Exponents are lifted so that a sum of `classes` of them just stays below float32's largest.
    """
    room = float(np.log(np.float32(np.finfo(np.float32).max) / np.float32(classes)))
    lift = max(0.0, room - _EXP_RESERVE) / scale
    return np.array([math.exp((i - 255 + lift) * scale) for i in range(256)], np.float32)


def lifted_exponentials(site: Site) -> tuple[NDArray[np.float32], float]:
    """Return the table of a softmax by LIFTED_EXP, and the codes of its result to the unit."""
    attrs = site.node.attrs
    assert isinstance(attrs, SoftmaxAttrs)
    x, out = site.operand(0), site.result()
    classes = x.shape[-1]
    if site.integer(x).bits != 8 or attrs.beta != 1.0:
        raise site.fail("input must hold 8-bit codes, and beta be 1")
    scale = float32_quotient(1, site.scale_of(out))
    steps = float(math.floor(scale)) if scale < MAX_RATIO else MAX_RATIO
    table = softmax_table(site.scale_of(x), classes)
    if not float(table[255]) * steps < float(np.finfo(np.float32).max):
        raise site.fail(
            f"output scale must be larger for {classes} classes, not {site.scale_of(out):g}; "
            "float32 overflows"
        )
    return table, steps


def lower_softmax_table(site: Site) -> Step:
    """Lower SOFTMAX as QLinearSoftmax: a table of float32 exponentials, summed in order."""
    x, out = site.operand(0), site.result()
    assert isinstance(site.node.attrs, SoftmaxAttrs)
    if site.node.attrs.causal:
        raise site.fail("softmax by a table of lifted exponentials must not be causal")
    classes = x.shape[-1]
    dtype = site.integer(out)
    table, steps = lifted_exponentials(site)
    zero = int(site.zero_of(out))

    def step(arrays: Sequence[Array]) -> tuple[Array, ...]:
        rows = np.ascontiguousarray(arrays[0]).reshape(-1, classes)
        made = np.empty(rows.shape, dtype.storage)
        softmax_table_rows(rows, table, steps, zero, dtype.min, dtype.max, made)
        return (made.reshape(out.shape),)

    return step


def lower_dynamic_quantize(site: Site) -> Step:
    """Lower DYNAMIC_QUANTIZE: uint8 codes whose scale and zero point come from the data.

    Source: DynamicQuantizeLinear of ONNX, every step in float32; a range of 0 gets scale 1.
    """
    x = site.operand(0)
    kinds = [site.result(slot).dtype for slot in range(3)]
    if x.dtype != FLOAT32 or kinds != [UINT8, FLOAT32, UINT8]:
        raise site.fail("input must be float32, and outputs uint8, float32 and uint8")

    def step(arrays: Sequence[Array]) -> tuple[Array, ...]:
        reals = arrays[0].astype(np.float32)
        low, high = np.minimum(reals.min(), np.float32(0)), np.maximum(reals.max(), np.float32(0))
        with np.errstate(over="ignore"):
            scale = np.float32((high - low) / np.float32(255))
        scale = np.float32(1) if scale == 0 else scale
        zero = int(np.clip(np.rint(-low / scale), 0, 255))
        params = QuantParams.per_tensor(float(scale), zero)
        codes = quantize_array(reals, IntType(8, signed=False), params, Rounding.HALF_EVEN)
        return codes, np.asarray(scale), np.asarray(zero, np.uint8)

    return step
