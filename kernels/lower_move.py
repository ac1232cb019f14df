"""Lowering of data movement: codes are copied, never changed."""

from collections.abc import Sequence

import numpy as np

from hwsim.graph import Value
from hwsim.ops import (
    Activation,
    ConcatAttrs,
    PadAttrs,
    ReshapeAttrs,
    SliceAttrs,
    SplitAttrs,
    TransposeAttrs,
)

from .lower_linear import Array, Step
from .scaling import Site


def _codes(site: Site, values: Sequence[Value]) -> None:
    """Check that integer operands mean the same before and after the move."""
    if not any(value.is_float for value in values):
        site.same_params(values)


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
    return lambda arrays: (np.ascontiguousarray(arrays[0].transpose(attrs.perm)),)


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
    elif x.quant is not None:
        fill = int(site.zero_of(out))

    def step(arrays: Sequence[Array]) -> tuple[Array, ...]:
        return (np.pad(arrays[0], amounts, constant_values=fill),)

    return step


def lower_concatenation(site: Site) -> Step:
    """Lower CONCATENATION."""
    attrs = site.node.attrs
    assert isinstance(attrs, ConcatAttrs)
    parts = [site.operand(slot) for slot in range(len(site.node.inputs))]
    _codes(site, (*parts, site.result()))
    if attrs.activation is not Activation.NONE:
        raise site.fail("a fused activation must be NONE on integer codes")
    return lambda arrays: (np.concatenate(arrays, axis=attrs.axis),)


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
    return lambda arrays: (np.ascontiguousarray(arrays[0][index]),)


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
