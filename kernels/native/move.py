"""Movement of codes as machine code: blocks are copied."""

from collections.abc import Mapping

from hwsim.kernels.scaling import Site

from .block import copy_elements
from .call import SCRATCH, Native, NativeCall, Place, Work
from .elementwise import Constants, pitches_of
from .layout import Layout
from .target import Tier


def _copied(source: Place, before: Layout, target: Place, after: Layout) -> NativeCall:
    """Return the call that copies a value to memory of another layout."""
    call = copy_elements(
        source, pitches_of(before), target, pitches_of(after), before.shape, before.size
    )
    assert call is not None  # a halo leaves four axes
    return call


def reshape(tier: Tier, site: Site, constants: Constants, bits: int) -> Native | None:
    """Return RESHAPE as machine code."""
    x, out = site.operand(0), site.result()
    if 0 in x.shape:
        return None

    def work(layouts: Mapping[str, Layout]) -> Work:
        source, target = layouts[x.name], layouts[out.name]
        start, end = Place(x.name), Place(out.name)
        plain = Layout(x.shape, source.size)
        if target.is_flat:
            return Work((_copied(start, source, end, plain),))
        same = Layout(out.shape, source.size)
        if source.is_flat:
            return Work((_copied(start, same, end, target),))
        between = Place(SCRATCH)
        calls = (_copied(start, source, between, plain), _copied(between, same, end, target))
        return Work(calls, plain.bytes)

    return Native(work)
