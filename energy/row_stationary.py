"""Convolutions on a row-stationary array: time, buffer and DRAM traffic of a mapping.

A processing element keeps a filter row and slides an input row past it. R elements in a column
make a 2-D window, e columns make e output rows: one *set* of R x e elements. A *pass* runs r x t
sets, each interleaving p filters and q channels, over n images; passes accumulate partial sums in
the global buffer. Words are 16 bits.

Source: Chen et al., Eyeriss, JSSC 2017 (the mapping's parameters and its table III).
"""

from dataclasses import dataclass
from functools import lru_cache
from math import ceil

import numpy as np

_WORD_BYTES = 2


@dataclass(frozen=True, slots=True)
class Convolution:
    """A convolution with square planes, as the array sees it.

    Args:
        batch: Images.
        input_size: Input height and width, padding included.
        kernel_height: Filter rows.
        kernel_width: Filter columns.
        output_height: Output rows.
        output_width: Output columns.
        channels: Input channels of one group.
        filters: Filters of all groups.
        stride: Rows and columns between windows.
        groups: Independent parts.
    """

    batch: int
    input_size: int
    kernel_height: int
    kernel_width: int
    output_height: int
    output_width: int
    channels: int
    filters: int
    stride: int
    groups: int

    @property
    def filters_each(self) -> int:
        """Filters of one group."""
        return self.filters // self.groups

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the batch."""
        window = self.kernel_height * self.kernel_width * self.channels
        return self.batch * self.filters * self.output_height * self.output_width * window

    @property
    def output_words(self) -> int:
        """Output elements of the batch."""
        return self.batch * self.filters * self.output_height * self.output_width

    @property
    def filter_words(self) -> int:
        """Filter elements."""
        return self.filters * self.channels * self.kernel_height * self.kernel_width


@dataclass(frozen=True, slots=True)
class Mapping:
    """How a convolution is cut, in the paper's letters.

    Args:
        m: Filters whose partial sums stay in the global buffer.
        n: Images in the global buffer.
        e: Output rows of a set.
        p: Filters that an element interleaves.
        q: Channels that an element interleaves.
        r: Sets that take different channels.
        t: Sets that take different filters.
    """

    m: int
    n: int
    e: int
    p: int
    q: int
    r: int
    t: int


@dataclass(frozen=True, slots=True)
class Links:
    """Words a cycle between global buffer and array."""

    filter_words: float
    input_words: float
    sum_words: float


def active_elements(layer: Convolution, mapping: Mapping) -> int:
    """Return the processing elements that work in a pass."""
    return layer.kernel_height * mapping.e * mapping.r * mapping.t


def sum_bytes(layer: Convolution, mapping: Mapping) -> int:
    """Return the partial sums in the global buffer."""
    return _WORD_BYTES * mapping.m * mapping.n * mapping.e * layer.output_width


def input_bytes(layer: Convolution, mapping: Mapping) -> int:
    """Return the input rows in the global buffer."""
    return _WORD_BYTES * _input_words(layer, mapping)


def _input_words(layer: Convolution, mapping: Mapping) -> int:
    """Return the input words that one pass takes."""
    rows = (mapping.e - 1) * layer.stride + layer.kernel_height
    return mapping.n * rows * layer.input_size * mapping.q * mapping.r


def passes(layer: Convolution, mapping: Mapping) -> int:
    """Return the passes of a layer."""
    return (
        layer.groups
        * ceil(layer.batch / mapping.n)
        * ceil(layer.output_height / mapping.e)
        * ceil(layer.filters_each / (mapping.p * mapping.t))
        * ceil(layer.channels / (mapping.q * mapping.r))
    )


def cycles(layer: Convolution, mapping: Mapping, links: Links) -> float:
    """Return the processing time: passes one after the other.

    A pass multiplies while partial sums come and go; the slower of the two sets its length.
    Ahead of it its filters and the first input windows are loaded, after it the last row of sums
    leaves: the ramp, which nothing hides.
    """
    columns = mapping.e * mapping.t
    multiply = (
        mapping.n * mapping.p * mapping.q * layer.output_width * layer.kernel_width
    )  # one a cycle in every element
    sums = mapping.n * mapping.p * columns * layer.output_width / links.sum_words
    window = layer.kernel_height * layer.kernel_width
    filters = mapping.p * mapping.t * mapping.q * mapping.r * window / links.filter_words
    rows = (mapping.e - 1) * layer.stride + layer.kernel_height
    first = rows * layer.kernel_width * mapping.q * mapping.r / links.input_words
    last = mapping.p * columns / links.sum_words
    return passes(layer, mapping) * (max(multiply, sums) + filters + first + last)


def buffer_words(layer: Convolution, mapping: Mapping) -> int:
    """Return the words that cross the global buffer's border: inputs read, sums both ways."""
    steps = ceil(layer.channels / (mapping.q * mapping.r))
    return passes(layer, mapping) * _input_words(layer, mapping) + 2 * layer.output_words * steps


@dataclass(frozen=True, slots=True)
class DramWords:
    """Words between DRAM and chip, before compression."""

    inputs: float
    filters: float
    outputs: float


def dram_words(layer: Convolution, mapping: Mapping, input_words: int) -> DramWords:
    """Return the traffic of a mapping.

    Filters are not kept: every strip of output rows of every n images streams them all. Inputs
    come once for each m filters, and rows that two strips share come twice. Outputs leave once.

    Args:
        layer: The convolution.
        mapping: Its mapping.
        input_words: Stored input elements of the batch, without padding.
    """
    strips = ceil(layer.output_height / mapping.e)
    # A strip of e rows takes (e - 1) stride + R input rows; neighbors share R - stride of them.
    shared = (strips - 1) * (layer.kernel_height - layer.stride) / layer.input_size
    blocks = ceil(layer.filters_each / mapping.m)
    return DramWords(
        inputs=input_words * blocks * (1 + max(shared, 0.0)),
        filters=float(layer.filter_words * ceil(layer.batch / mapping.n) * strips),
        outputs=float(layer.output_words),
    )


def run_length_ratio(zero_fraction: float, run_bits: int = 5, pairs_in_64: int = 3) -> float:
    """Return the size of a run-length coded map over its plain size, at most 1.

    A pair is a run of zeros of at most 2^run_bits - 1 and the value that ends it; zeros fall
    independently. A map that would grow is stored plain.
    """
    longest = 2**run_bits
    # A pair holds 1 + z + z^2 + ... + z^(longest - 1) elements on average.
    elements = sum(zero_fraction**zeros for zeros in range(longest))
    return min(1.0, 1 / elements * (64 / pairs_in_64) / (8 * _WORD_BYTES))


@dataclass(frozen=True, slots=True)
class Array:
    """What a mapping must fit.

    Args:
        rows: Rows of processing elements; no filter may be higher.
        columns: Columns.
        filter_words: Filter scratchpad of an element.
        input_words: Input scratchpad of an element.
        sum_words: Partial sums of an element.
        buffer_bytes: Global buffer for inputs and partial sums.
        links: Words a cycle from and to it.
    """

    rows: int
    columns: int
    filter_words: int
    input_words: int
    sum_words: int
    buffer_bytes: int
    links: Links


@lru_cache(maxsize=4096)
def best_mapping(array: Array, layer: Convolution) -> Mapping | None:
    """Return the fastest mapping at one image at a time, of those the one with least DRAM words.

    None if the filter is higher than the array, or no mapping fits the global buffer. A filter
    row that exceeds the input scratchpad is taken one channel at a time.
    """
    height, width = layer.kernel_height, layer.kernel_width
    if height > array.rows:
        return None
    # Sets of `height` rows stand above each other; one that is too wide is cut and stacked.
    sets = array.rows // height * array.columns
    e_most = min(layer.output_height, sets)
    q_most = max(min(layer.channels, array.input_words // width), 1)
    e, q, r, t = (
        axis.ravel()
        for axis in np.meshgrid(
            np.arange(1, e_most + 1),
            np.arange(1, q_most + 1),
            _up_to(min(layer.channels, sets)),
            _up_to(min(layer.filters_each, sets)),
            indexing="ij",
        )
    )
    most = np.maximum(np.minimum(array.sum_words, array.filter_words // (q * width)), 1)
    share = -(-layer.filters_each // t)
    # As many passes as the most filters need, evenly filled; or parts that leave no rest.
    even = -(-share // -(-share // most))
    exact = np.ones_like(share)
    for size in range(2, array.sum_words + 1):
        exact[(share % size == 0) & (size <= most)] = size
    e, q, r, t = (np.concatenate((axis, axis)) for axis in (e, q, r, t))
    p = np.concatenate((even, exact))
    rows = (e - 1) * layer.stride + height
    inputs = _WORD_BYTES * rows * layer.input_size * q * r
    each = _WORD_BYTES * e * layer.output_width  # partial sums of one filter
    fits = (e * r * t <= sets) & (inputs + each * p * t <= array.buffer_bytes)
    if not fits.any():
        return None
    e, q, r, t, p, rows, inputs, each = (
        values[fits] for values in (e, q, r, t, p, rows, inputs, each)
    )
    groups_of = -(-layer.filters_each // (p * t))
    m = np.minimum((array.buffer_bytes - inputs) // (each * p * t), groups_of) * p * t
    strips = -(-layer.output_height // e)
    count = strips * groups_of * -(-layer.channels // (q * r))
    links = array.links
    multiply = p * q * layer.output_width * width
    sums = p * e * t * layer.output_width / links.sum_words
    ramp = (
        p * t * q * r * height * width / links.filter_words
        + rows * width * q * r / links.input_words
        + p * e * t / links.sum_words
    )
    time = count * (np.maximum(multiply, sums) + ramp)
    words = layer.channels * layer.input_size**2 * -(-layer.filters_each // m)
    words = words + layer.filter_words * strips
    best = np.lexsort((words, time))[0]
    return Mapping(
        int(m[best]), 1, int(e[best]), int(p[best]), int(q[best]), int(r[best]), int(t[best])
    )


def _up_to(most: int) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
    """Return 1 to 16 and every size beyond that divides `most` evenly enough to matter."""
    sizes = {*range(1, min(most, 16) + 1), *(ceil(most / part) for part in range(1, 9))}
    return np.array(sorted(sizes), dtype=np.int64)
