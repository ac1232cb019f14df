"""Movement of codes as machine code: blocks are copied."""

from collections.abc import Mapping, Sequence

import numpy as np

from hwsim.attributes import (
    ConcatAttrs,
    PadAttrs,
    SliceAttrs,
    SplitAttrs,
    TransposeAttrs,
)
from hwsim.graph import Value
from hwsim.kernels.scaling import Site

from .block import AXES, copy_block, pitches_of
from .call import SCRATCH, Native, NativeCall, Place, Work
from .elementwise import Constants
from .layout import Layout
from .target import Tier


def _copied(source: Place, before: Layout, target: Place, after: Layout) -> NativeCall:
    """Return the call that copies a value to memory of another layout."""
    return copy_block(
        source, pitches_of(before), target, pitches_of(after), before.shape, before.size
    )


def _moves(values: Sequence[Value]) -> bool:
    """Return whether blocks of these values can be copied."""
    return all(len(value.shape) <= AXES and 0 not in value.shape for value in values)


def reshape(tier: Tier, site: Site, constants: Constants, bits: int) -> Native | None:
    """Return RESHAPE as machine code."""
    x, out = site.operand(0), site.result()
    if not _moves((x, out)):
        return None

    def work(layouts: Mapping[str, Layout]) -> Work:
        source, target = layouts[x.name], layouts[out.name]
        start, end = Place(x.name), Place(out.name)
        plain, same = Layout(x.shape, source.size), Layout(out.shape, source.size)
        if target.is_flat:
            return Work((_copied(start, source, end, plain),))
        if source.is_flat:
            return Work((_copied(start, same, end, target),))
        between = Place(SCRATCH)
        calls = (_copied(start, source, between, plain), _copied(between, same, end, target))
        return Work(calls, plain.bytes)

    return Native(work)


def transpose(tier: Tier, site: Site, constants: Constants, bits: int) -> Native | None:
    """Return TRANSPOSE as machine code."""
    attrs, x, out = site.node.attrs, site.operand(0), site.result()
    assert isinstance(attrs, TransposeAttrs)
    if not _moves((x, out)):
        return None

    def work(layouts: Mapping[str, Layout]) -> Work:
        source, target = layouts[x.name], layouts[out.name]
        pitches = pitches_of(source)
        moved = [pitches[axis] for axis in attrs.perm]
        call = copy_block(
            Place(x.name), moved, Place(out.name), pitches_of(target), out.shape, source.size
        )
        return Work((call,))

    return Native(work)


def strided_slice(tier: Tier, site: Site, constants: Constants, bits: int) -> Native | None:
    """Return STRIDED_SLICE as machine code."""
    attrs, x, out = site.node.attrs, site.operand(0), site.result()
    assert isinstance(attrs, SliceAttrs)
    if not _moves((x, out)):
        return None

    def work(layouts: Mapping[str, Layout]) -> Work:
        source, target = layouts[x.name], layouts[out.name]
        pitches = pitches_of(source)
        first = sum(n * pitch for n, pitch in zip(attrs.starts, pitches, strict=True))
        steps = [n * pitch for n, pitch in zip(attrs.strides, pitches, strict=True)]
        call = copy_block(
            Place(x.name, first), steps, Place(out.name), pitches_of(target), out.shape, source.size
        )
        return Work((call,))

    return Native(work)


def split(tier: Tier, site: Site, constants: Constants, bits: int) -> Native | None:
    """Return SPLIT as machine code."""
    attrs, x = site.node.attrs, site.operand(0)
    assert isinstance(attrs, SplitAttrs)
    parts = [site.result(slot) for slot in range(len(site.node.outputs))]
    if not _moves((x, *parts)):
        return None

    def work(layouts: Mapping[str, Layout]) -> Work:
        source = layouts[x.name]
        pitches = pitches_of(source)
        calls, first = [], 0
        for part in parts:
            target = layouts[part.name]
            start = Place(x.name, first * pitches[attrs.axis])
            calls.append(
                copy_block(
                    start, pitches, Place(part.name), pitches_of(target), part.shape, source.size
                )
            )
            first += part.shape[attrs.axis]
        return Work(tuple(calls))

    return Native(work)


def concatenation(tier: Tier, site: Site, constants: Constants, bits: int) -> Native | None:
    """Return CONCATENATION of parts that keep their codes as machine code."""
    attrs, out = site.node.attrs, site.result()
    assert isinstance(attrs, ConcatAttrs)
    parts = [site.operand(slot) for slot in range(len(site.node.inputs))]
    if not _moves((*parts, out)) or any(part.quant != out.quant for part in parts):
        return None

    def work(layouts: Mapping[str, Layout]) -> Work:
        target = layouts[out.name]
        pitches = pitches_of(target)
        calls, first = [], 0
        for part in parts:
            source = layouts[part.name]
            end = Place(out.name, first * pitches[attrs.axis])
            calls.append(
                copy_block(
                    Place(part.name), pitches_of(source), end, pitches, part.shape, source.size
                )
            )
            first += part.shape[attrs.axis]
        return Work(tuple(calls))

    return Native(work)


def pad(tier: Tier, site: Site, constants: Constants, bits: int) -> Native | None:
    """Return PAD as machine code: all is filled, then the middle is copied."""
    attrs, x, out = site.node.attrs, site.operand(0), site.result()
    assert isinstance(attrs, PadAttrs)
    if not _moves((x, out)):
        return None
    value: float = 0
    if attrs.value is not None:
        value = attrs.value
    elif x.quant is not None:
        value = int(site.zero_of(out))
    fill = np.full(1, value, out.dtype.storage)

    def work(layouts: Mapping[str, Layout]) -> Work:
        source, target = layouts[x.name], layouts[out.name]
        pitches, end = pitches_of(target), Place(out.name)
        nothing = (0,) * len(pitches)
        first = sum(n * pitch for n, pitch in zip(attrs.before, pitches, strict=True))
        middle = Place(out.name, first)
        return Work(
            (
                copy_block(fill, nothing, end, pitches, out.shape, target.size),
                copy_block(
                    Place(x.name), pitches_of(source), middle, pitches, x.shape, source.size
                ),
            )
        )

    return Native(work)
