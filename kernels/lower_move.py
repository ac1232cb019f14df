"""Lowering of data movement: codes are copied, never changed."""

from collections.abc import Sequence

import numpy as np

from hwsim.attributes import (
    Activation,
    ConcatAttrs,
    GatherAttrs,
    PadAttrs,
    ReshapeAttrs,
    SliceAttrs,
    SplitAttrs,
    TransposeAttrs,
)
from hwsim.errors import InputError
from hwsim.graph import Value
from hwsim.multiplier import float32_product, float32_quotient
from hwsim.quant import IntType

from .lower_linear import Array, Step
from .scaling import Site, half_away

# Far above any ratio that means something, far below what float32 and int64 hold.
MAX_FACTOR = float(1 << 30)


def _codes(site: Site, values: Sequence[Value]) -> None:
    """Check that codes are stored alike before and after the move.

    LiteRT's reference copies codes even where the file gives the result other parameters; so does
    this engine. The quantizer never makes such a graph.
    """
    for value in values[1:]:
        if value.dtype != values[0].dtype:
            raise site.fail(
                f"{value.name!r} must be {values[0].dtype} like {values[0].name!r}, "
                f"not {value.dtype}"
            )


def lower_reshape(site: Site) -> Step:
    """Lower RESHAPE."""
    attrs = site.node.attrs
    assert isinstance(attrs, ReshapeAttrs)
    _codes(site, (site.operand(0), site.result()))
    return lambda arrays: (arrays[0].reshape(attrs.shape),)


def lower_transpose(site: Site) -> Step:
    """Lower TRANSPOSE."""
    attrs = site.node.attrs
    assert isinstance(attrs, TransposeAttrs)
    _codes(site, (site.operand(0), site.result()))
    return lambda arrays: (np.asarray(arrays[0].transpose(attrs.perm), order="C"),)


def lower_pad(site: Site) -> Step:
    """Lower PAD; real zero is the zero point."""
    attrs = site.node.attrs
    assert isinstance(attrs, PadAttrs)
    x, out = site.operand(0), site.result()
    _codes(site, (x, out))
    amounts = tuple(zip(attrs.before, attrs.after, strict=True))
    fill: float | int = 0
    if attrs.value is not None:
        fill = attrs.value
        dtype = x.dtype
        if isinstance(dtype, IntType) and not (
            isinstance(fill, int) and dtype.min <= fill <= dtype.max
        ):
            raise site.fail(f"value must be a code of {dtype}, not {fill}")
    elif x.quant is not None:
        fill = int(site.zero_of(out))

    def step(arrays: Sequence[Array]) -> tuple[Array, ...]:
        return (np.pad(arrays[0], amounts, constant_values=fill),)

    return step


def lower_concatenation(site: Site) -> Step:
    """Lower CONCATENATION; parts of unsigned codes may be rescaled on the way.

    Source: ConcatenationWithScaling, tensorflow/lite/kernels/internal/reference/concatenation.h.
    """
    attrs = site.node.attrs
    assert isinstance(attrs, ConcatAttrs)
    parts = [site.operand(slot) for slot in range(len(site.node.inputs))]
    out = site.result()
    _codes(site, (*parts, out))
    if attrs.activation is not Activation.NONE:
        raise site.fail("a fused activation must be NONE on integer codes")
    if out.is_float or out.quant is None:
        return lambda arrays: (np.concatenate(arrays, axis=attrs.axis),)
    if site.integer(out).signed:
        site.same_params((*parts, out))
        return lambda arrays: (np.concatenate(arrays, axis=attrs.axis),)
    tables = [_joined_table(site, part) for part in parts]

    def step(arrays: Sequence[Array]) -> tuple[Array, ...]:
        moved = [table[array] for table, array in zip(tables, arrays, strict=True)]
        return (np.concatenate(moved, axis=attrs.axis),)

    return step


def _joined_table(site: Site, part: Value) -> Array:
    """Return the output code of every unsigned code of a part, computed in float32."""
    out = site.result()
    dtype = site.integer(out)
    codes = range(dtype.max + 1)
    if part.quant == out.quant:
        return np.array(codes, dtype.storage)
    inverse = float32_quotient(1, site.scale_of(out))
    factor = float32_product(site.scale_of(part), inverse)
    if not factor < MAX_FACTOR:
        raise site.fail(f"scale ratio of {part.name!r} must be below {MAX_FACTOR:g}, not {factor}")
    offset = np.float32(-int(site.zero_of(part))) * np.float32(factor)
    moved = [half_away(float(np.float32(code) * np.float32(factor) + offset)) for code in codes]
    zero_point = int(site.zero_of(out))
    table: Array = np.clip(np.array(moved) + zero_point, dtype.min, dtype.max)
    return table.astype(dtype.storage)


def lower_strided_slice(site: Site) -> Step:
    """Lower STRIDED_SLICE."""
    attrs = site.node.attrs
    assert isinstance(attrs, SliceAttrs)
    _codes(site, (site.operand(0), site.result()))
    index = tuple(
        slice(
            start,
            None if stride < 0 and start + stride * size < 0 else start + stride * size,
            stride,
        )
        for start, stride, size in zip(attrs.starts, attrs.strides, attrs.sizes, strict=True)
    )
    return lambda arrays: (np.asarray(arrays[0][index], order="C"),)


def lower_gather(site: Site) -> Step:
    """Lower GATHER: codes of a table by integer indices, which are checked as they come."""
    attrs = site.node.attrs
    assert isinstance(attrs, GatherAttrs)
    table, indices, out = site.operand(0), site.operand(1), site.result()
    _codes(site, (table, out))
    if indices.is_float or indices.quant is not None or indices.dtype.bits < 32:
        raise site.fail(
            f"indices {indices.name!r} must be integers of 32 or 64 bits, not {indices.dtype}"
        )
    size = table.shape[attrs.axis]

    def step(arrays: Sequence[Array]) -> tuple[Array, ...]:
        low, high = int(arrays[1].min()), int(arrays[1].max())
        if low < 0 or high >= size:
            raise InputError(
                f"indices {indices.name!r} of node {site.node.name!r} must be in "
                f"[0, {size - 1}], not [{low}, {high}]"
            )
        return (np.take(arrays[0], arrays[1], axis=attrs.axis),)

    return step


def lower_split(site: Site) -> Step:
    """Lower SPLIT."""
    attrs = site.node.attrs
    assert isinstance(attrs, SplitAttrs)
    outputs = [site.result(slot) for slot in range(len(site.node.outputs))]
    _codes(site, (site.operand(0), *outputs))
    edges = np.cumsum(attrs.sizes)[:-1].tolist()
    return lambda arrays: tuple(
        np.ascontiguousarray(part) for part in np.split(arrays[0], edges, axis=attrs.axis)
    )
