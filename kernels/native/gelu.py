"""GELU as machine code where it is no table of codes: by IBERT and by IVIT."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from hwsim.kernels.lower_gelu import polynomial_gelu, shift_gelu
from hwsim.kernels.scaling import Site, aligned
from hwsim.profile import Method

from .call import Native, NativeCall, Word, Work
from .gelu_kernel import Field, polynomial_kernel, shifts_kernel
from .layout import Layout
from .matrix import Constants
from .packing import padded
from .rows import ENTRIES, has_byte_lookup, kind_of, row_words
from .target import Tier


def gelu(tier: Tier, site: Site, constants: Constants, bits: int) -> Native | None:
    """Return GELU by IBERT or IVIT as machine code."""
    x, out = site.operand(0), site.result()
    if site.integer(out).bits > 16 or not x.shape or 0 in x.shape:
        return None
    if site.rule.method is Method.IBERT:
        return _by_polynomial(tier, site)
    return _by_shifts(tier, site) if site.rule.method is Method.IVIT else None


def _by_polynomial(tier: Tier, site: Site) -> Native:
    x, out = site.operand(0), site.result()
    made, channels = polynomial_gelu(site), x.shape[-1]
    scaling = made.scaling
    kernel = polynomial_kernel(
        tier,
        kind_of(site.integer(x)),
        site.integer(out).storage.itemsize,
        int(scaling.right_shift.min() >= 1),
    )
    words: dict[Field, Word] = {
        Field.X_ZERO: int(made.x_zero),
        Field.KNEE: padded(made.knee, channels, np.int64),
        Field.HEIGHT: padded(made.height, channels, np.int64),
        Field.ONE: padded(made.one, channels, np.int64),
        Field.MULTIPLIER: padded(scaling.multiplier, channels, np.int64),
        Field.RIGHT: padded(scaling.right_shift, channels, np.int64),
        Field.ZERO: scaling.zero_point,
        Field.LOW: scaling.qmin - scaling.zero_point,
        Field.HIGH: scaling.qmax - scaling.zero_point,
    }
    constants = tuple(words[field] for field in Field)

    def work(layouts: Mapping[str, Layout]) -> Work:
        return Work((NativeCall(kernel, (*row_words(x, out, layouts), *constants)),))

    return Native(work)


def _by_shifts(tier: Tier, site: Site) -> Native:
    x, out = site.operand(0), site.result()
    source, dtype = site.integer(x), site.integer(out)
    tables = _tables(site)
    kernel = shifts_kernel(
        kind_of(source), dtype.storage.itemsize, tier.lanes, int(has_byte_lookup(tier))
    )

    def work(layouts: Mapping[str, Layout]) -> Work:
        return Work((NativeCall(kernel, (*row_words(x, out, layouts), source.min, tables)),))

    return Native(work)


def _tables(site: Site) -> NDArray[np.integer]:
    """Return [largest code of a row][distance to it], as the reference computes such rows."""
    source, dtype = site.integer(site.operand(0)), site.integer(site.result())
    largest = np.arange(source.min, source.max + 1)[:, None]
    codes = np.maximum(largest - np.arange(ENTRIES), source.min)
    made = aligned(codes.shape, dtype.storage)
    shift_gelu(site)(np.ascontiguousarray(codes.astype(source.storage)), made)
    return made
