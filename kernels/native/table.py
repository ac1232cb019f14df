"""Functions of one or two codes as tables: what the reference step says of every code."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsim.graph import Graph, Value
from hwsim.kernels.jit import native
from hwsim.kernels.lower_linear import Lowered, Step
from hwsim.kernels.scaling import Site, aligned, output_range
from hwsim.profile import Method
from hwsim.quant import IntType

from .affine import SUMS, affine_add, affine_sum
from .alone import run_alone
from .broadcast import broadcast
from .call import Native, NativeCall, Place, Work
from .elementwise import Constants
from .layout import Layout
from .lines import Spot, lines_of
from .memory import array, int64s, pointer
from .rows import has_byte_lookup, look_up
from .target import Tier

Lower = Callable[[Site], Step | Lowered]
Lowering = Callable[[Tier, Site, Constants, int], Native | None]
Compute = Callable[[Site, Sequence[NDArray[np.integer]]], NDArray[np.integer]]
_BYTES = 256
_WORDS = 65536
_BY_ROW = (Method.IVIT,)  # their results hang on a row's other codes


def every_code(site: Site, compute: Compute) -> NDArray[np.integer]:
    """Return what a node makes of every code of its operands, smallest first.

    Args:
        site: A node of one operand, or of two; the table has an axis for each.
        compute: How: see `by_reference` and `by_vectors`.
    """
    operands = [site.operand(slot) for slot in range(len(site.node.inputs))]
    ranges = [
        np.arange(dtype.min, dtype.max + 1).astype(dtype.storage)
        for dtype in map(site.integer, operands)
    ]
    codes = [np.ascontiguousarray(mesh) for mesh in np.meshgrid(*ranges, indexing="ij")]
    shape = codes[0].shape if len(codes) > 1 else (1, codes[0].size)
    values = {value.name: replace(value, shape=shape, data=None) for value in operands}
    out = site.result()
    names = tuple(values)
    values[out.name] = replace(out, shape=shape)
    graph = Graph("table", values, (site.node,), names, (out.name,), site.graph.profile)
    made = compute(replace(site, graph=graph), [code.reshape(shape) for code in codes])
    return made.reshape(codes[0].shape)


def by_reference(lower: Lower) -> Compute:
    """Return the way that asks the reference step."""

    def compute(site: Site, codes: Sequence[NDArray[np.integer]]) -> NDArray[np.integer]:
        made = lower(site)
        step = made.step if isinstance(made, Lowered) else made
        return np.asarray(step(codes)[0])

    return compute


def by_vectors(tier: Tier, constants: Constants, lower: Lower, vectors: Lowering | None) -> Compute:
    """Return the way that asks machine code where there is any, and saves a process Numba."""

    def compute(site: Site, codes: Sequence[NDArray[np.integer]]) -> NDArray[np.integer]:
        made = vectors and vectors(tier, site, constants, 0)
        if made is None:
            return by_reference(lower)(site, codes)
        values = [site.operand(slot) for slot in range(len(codes))]
        return run_alone(made, values, codes, site.result())

    return compute


def unary(lower: Lower, vectors: Lowering | None = None) -> Lowering:
    """Return the machine code of a function of one code.

    Args:
        lower: Its reference lowering.
        vectors: What does without a table, for codes of more than 8 bits.
    """

    def lowering(tier: Tier, site: Site, constants: Constants, bits: int) -> Native | None:
        x, out = site.operand(0), site.result()
        by_code = isinstance(x.dtype, IntType) and x.dtype.bits <= 16 and x.quant is not None
        if not by_code or 0 in x.shape or not isinstance(out.dtype, IntType):
            return vectors and vectors(tier, site, constants, bits)
        assert isinstance(x.dtype, IntType) and x.quant is not None
        if x.dtype.storage.itemsize > 1 and vectors is not None:
            made = vectors(tier, site, constants, bits)
            if made is not None:
                return made
        if not x.quant.is_per_tensor or site.rule.method in _BY_ROW or out.dtype.bits > 32:
            return vectors and vectors(tier, site, constants, bits)
        known = constants.get("table")
        entries = known
        if not isinstance(entries, np.ndarray):
            entries = every_code(site, by_vectors(tier, constants, lower, vectors))
        return _look_up(tier, site, entries)

    return lowering


def _look_up(tier: Tier, site: Site, entries: NDArray[np.integer]) -> Native:
    """Return the kernel that replaces codes by their entries."""
    x, out = site.operand(0), site.result()
    dtype = site.integer(x)
    size = entries.itemsize
    if dtype.storage.itemsize == 1 and size <= 2:
        # The kernel counts from the largest byte down.
        table = aligned((_BYTES,), entries.dtype)
        table[_BYTES - 1 - (np.arange(dtype.min, dtype.max + 1) & (_BYTES - 1))] = entries
        kernel = _bytes_kernel(int(has_byte_lookup(tier)), size)
    else:
        count = 1 << 8 * dtype.storage.itemsize
        table = aligned((count,), entries.dtype)
        table[np.arange(dtype.min, dtype.max + 1) & (count - 1)] = entries
        kernel = _words_kernel(f"u{dtype.storage.name.lstrip('u')}", f"int{8 * size}", count)

    def work(layouts: Mapping[str, Layout]) -> Work:
        spots = [Spot(Place(value.name), layouts[value.name]) for value in (x, out)]
        return Work((NativeCall(kernel, (*lines_of(spots).words(spots), table)),))

    return Native(work)


@cache
def _bytes_kernel(wide: int, size: int) -> Any:
    """Return the kernel that looks up bytes in a table of 256 entries, the last code's first."""
    last = _BYTES - 1

    def by_bytes(words: int) -> None:
        at = int64s(words, 10)
        for image in range(at[0]):
            for line in range(at[1]):
                x = at[3] + image * at[4] + line * at[5]
                out = at[6] + image * at[7] + line * at[8]
                look_up(wide, size, at[9], last, x, out, at[2])

    return native(by_bytes)


@cache
def _words_kernel(kind: str, out_kind: str, entries: int) -> Any:
    """Return the kernel that looks up codes, read as unsigned, in a table of as many entries."""

    def by_words(words: int) -> None:
        at = int64s(words, 10)
        table = array(pointer(at[9], out_kind), (entries,))
        for image in range(at[0]):
            for line in range(at[1]):
                x = array(pointer(at[3] + image * at[4] + line * at[5], kind), (at[2],))
                out = array(pointer(at[6] + image * at[7] + line * at[8], out_kind), (at[2],))
                for index in range(at[2]):
                    out[index] = table[x[index]]

    return native(by_words)


def binary(lower: Lower, vectors: Lowering | None = None) -> Lowering:
    """Return the machine code of a function of two codes of 8 bits.

    Args:
        lower: Its reference lowering.
        vectors: What does without a table, where it can.
    """

    def lowering(tier: Tier, site: Site, constants: Constants, bits: int) -> Native | None:
        values = (site.operand(0), site.operand(1), site.result())
        if all(map(_is_byte, values)) and values[0].name != values[1].name:
            compute = by_vectors(tier, constants, lower, vectors)
            if site.op in SUMS and has_byte_lookup(tier):
                entries = every_code(site, compute)
                low, high = output_range(site, site.activation)
                form = affine_sum(site, entries, low, high)
                if form is not None:
                    return affine_add(site, form, low, high)
            made = vectors and vectors(tier, site, constants, bits)
            if made is not None:
                return made
            return _look_up_pairs(site, every_code(site, compute))
        return vectors and vectors(tier, site, constants, bits)

    return lowering


def _is_byte(value: Value) -> bool:
    """Return whether a value holds codes of one scale in bytes."""
    is_byte = isinstance(value.dtype, IntType) and value.dtype.storage.itemsize == 1
    return is_byte and 0 not in value.shape and value.quant is not None and value.quant.axis is None


def _look_up_pairs(site: Site, entries: NDArray[np.integer]) -> Native:
    """Return the kernel that replaces pairs of codes by their entries."""
    values = [site.operand(0), site.operand(1)]
    rows, columns = (
        np.arange(dtype.min, dtype.max + 1) & (_BYTES - 1) for dtype in map(site.integer, values)
    )
    table = aligned((_WORDS,), entries.dtype)
    table[(rows[:, None] * _BYTES + columns).ravel()] = entries.ravel()
    kernel = _pairs_kernel()

    def combine(spots: Sequence[Spot]) -> NativeCall:
        return NativeCall(kernel, (*lines_of(spots).words(spots), table))

    return broadcast(values, site.result(), combine)


@cache
def _pairs_kernel() -> Any:
    """Return the kernel that looks up pairs of bytes in a table of 65,536."""

    def by_pairs(words: int) -> None:
        at = int64s(words, 13)
        table = array(pointer(at[12], "int8"), (_WORDS,))
        for image in range(at[0]):
            for line in range(at[1]):
                a = array(pointer(at[3] + image * at[4] + line * at[5], "uint8"), (at[2],))
                b = array(pointer(at[6] + image * at[7] + line * at[8], "uint8"), (at[2],))
                out = array(pointer(at[9] + image * at[10] + line * at[11], "int8"), (at[2],))
                for index in range(at[2]):
                    out[index] = table[np.int64(a[index]) << 8 | np.int64(b[index])]

    return native(by_pairs)
