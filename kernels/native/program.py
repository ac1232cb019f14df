"""A graph as lists of native calls over one arena.

Every value gets its place in one block of memory; values that are not needed at the same time share
places. Runs of native nodes are walked by one call without the GIL; a node without native code runs
between them as a Python step on copies.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsim.graph import Graph, Value
from hwsim.kernels.jit import make_ready

from .call import SCRATCH, Native, Place, Work
from .fill import fill_call
from .layout import NO_HALO, Halo, Layout
from .memory import walk_kernel

Array = NDArray[Any]
ALIGNMENT = 64
SLACK = 256
"""Bytes around an arena: vectors may be read, never written, beyond a value's end."""


Step = Callable[[Sequence[Array]], tuple[Array, ...]]


@dataclass(frozen=True)
class Item:
    """A node of a program.

    Args:
        inputs: Names it reads.
        outputs: Names it makes.
        work: Machine code, or a step of the reference kernels.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    work: Native | Step


@dataclass(frozen=True)
class Program:
    """A graph ready to run in an arena.

    Args:
        graph: What runs.
        items: One per node, in order.
        constants: Arrays that nodes read besides activations.
        keep_all: Whether every activation survives to the end.
    """

    graph: Graph
    items: tuple[Item, ...]
    constants: Mapping[str, Array]
    keep_all: bool

    @cached_property
    def layouts(self) -> dict[str, Layout]:
        """The layout of every activation and constant."""
        halos: dict[str, Halo] = {}
        flat = set()
        for item in self.items:
            if not isinstance(item.work, Native):
                flat |= {*item.inputs, *item.outputs}
                continue
            flat |= set(item.work.flat)
            for name, halo in item.work.halos.items():
                halos[name] = halo.around(halos.get(name, NO_HALO))
        made = {}
        for name, value in self.graph.values.items():
            array = self.constants.get(name)
            keeps = array is None and name not in flat and len(value.shape) == 4
            halo = halos.get(name, NO_HALO) if keeps else NO_HALO
            made[name] = Layout(value.shape, _storage(value, array).itemsize, halo)
        return made

    @cached_property
    def _work(self) -> list[Work | None]:
        """The calls of every node; a border is filled ahead of the first node that touches it."""
        made: list[Work | None] = []
        bordered: set[str] = set()
        for item in self.items:
            if not isinstance(item.work, Native):
                made.append(None)
                continue
            work = item.work.work(self.layouts)
            new = [
                name
                for name in dict.fromkeys((*item.inputs, *item.outputs))
                if name not in bordered and not self.layouts[name].is_flat
            ]
            bordered |= set(new)
            borders = [fill_call(Place(name), self.layouts[name], self._zero(name)) for name in new]
            made.append(Work((*borders, *work.calls), work.scratch))
        return made

    def _zero(self, name: str) -> int:
        """Return the code of zero."""
        quant = self.graph.values[name].quant
        return int(quant.zero_point[0]) if quant else 0

    @cached_property
    def _places(self) -> tuple[dict[str, int], list[int], int]:
        """Byte of every activation's memory, of every node's scratch; bytes of all."""
        end = len(self.items)
        born = {value.name: -1 for value in self.graph.inputs}
        dies: dict[str, int] = {}
        for index, item in enumerate(self.items):
            born |= dict.fromkeys(item.outputs, index)
            dies |= {name: index for name in (*item.inputs, *item.outputs)}
        dies |= dict.fromkeys(self.graph.output_names, end)
        blocks = [
            _Block(name, self.layouts[name].bytes, first, end if self.keep_all else dies[name])
            for name, first in born.items()
            if name in dies
        ]
        work = self._work
        blocks += [
            _Block(index, one.scratch, index, index)
            for index, one in enumerate(work)
            if one is not None and one.scratch
        ]
        offsets, size = _packed(blocks)
        named = {block.key: offset for block, offset in zip(blocks, offsets, strict=True)}
        scratch = [named.get(index, 0) for index in range(end)]
        return {k: v for k, v in named.items() if isinstance(k, str)}, scratch, size

    @property
    def arena_bytes(self) -> int:
        """Bytes of the arena of one run."""
        return self._places[2]

    @property
    def arrays(self) -> tuple[Array, ...]:
        """The arrays that its calls point into, packed weights and tables."""
        return tuple(kept for kept in self._code[3] if isinstance(kept, np.ndarray))

    @cached_property
    def _code(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_], list[Any]]:
        """Entries, argument words, which words count from the arena's start, what they keep."""
        offsets, scratch, _ = self._places
        rows: list[tuple[int, list[int], list[bool]]] = []
        calls = [call for work in self._work if work for call in work.calls]
        kept: list[Any] = [walk_kernel()]
        make_ready((walk_kernel(), *(call.kernel for call in calls)))
        for index, work in enumerate(self._work):
            for call in work.calls if work else ():
                words, relative = [], []
                for word in call.words:
                    moved = False
                    if isinstance(word, Place):
                        moved, number, array = self._address(word, offsets, scratch[index])
                        kept.append(array)
                    elif isinstance(word, np.ndarray):
                        assert word.flags.c_contiguous
                        kept.append(word)
                        number = word.__array_interface__["data"][0]
                    else:
                        number = int(word)
                    words.append(number)
                    relative.append(moved)
                kept.append(call.kernel)
                rows.append((call.kernel.address, words, relative))
        width = max((len(words) for _, words, _ in rows), default=1)
        entries = np.array([address for address, _, _ in rows], np.int64)
        words_of = np.zeros((len(rows), width), np.int64)
        from_arena = np.zeros((len(rows), width), np.bool_)
        for row, (_, words, relative) in enumerate(rows):
            words_of[row, : len(words)] = words
            from_arena[row, : len(words)] = relative
        return entries, words_of, from_arena, kept

    def _address(
        self, place: Place, offsets: Mapping[str, int], scratch: int
    ) -> tuple[bool, int, Array | None]:
        """Return (whether it counts from the arena, the number, the constant it points into)."""
        if place.value == SCRATCH:
            return True, scratch + place.offset, None
        array = self.constants.get(place.value)
        if array is not None:
            kept = np.ascontiguousarray(array)
            return False, kept.__array_interface__["data"][0] + place.offset, kept
        first = self.layouts[place.value].first
        return True, offsets[place.value] + first + place.offset, None

    @cached_property
    def _stages(self) -> list[tuple[bool, int, int]]:
        """Runs of (native, first, last): calls of native stages, items of others."""
        stages: list[tuple[bool, int, int]] = []
        call = index = 0
        for native, group in groupby(self._work, key=lambda work: work is not None):
            works = list(group)
            calls = sum(len(work.calls) for work in works if work)
            first, count = (call, calls) if native else (index, len(works))
            stages.append((native, first, first + count))
            call += calls
            index += len(works)
        return stages

    def arena(self) -> "Arena":
        """Return memory to run in; one run at a time."""
        entries, words, from_arena, _ = self._code
        raw = np.zeros(self.arena_bytes + 2 * SLACK + ALIGNMENT, np.uint8)
        start = SLACK + -(raw.__array_interface__["data"][0] + SLACK) % ALIGNMENT
        memory = raw[start : start + self.arena_bytes]
        address = memory.__array_interface__["data"][0]
        offsets = self._places[0]
        views = {
            name: _view(memory[at:], self.layouts[name], self.graph.values[name])
            for name, at in offsets.items()
        }
        filled = words + from_arena * address
        pitch = filled.strides[0]
        walks = np.zeros((len(self._stages), 4), np.int64)
        for row, (native, first, last) in zip(walks, self._stages, strict=True):
            if native:
                row[:] = _address(entries[first:]), last - first, _address(filled[first:]), pitch
        given = [value.name for value in self.graph.inputs if value.name in views]
        wanted = self.graph.activations if self.keep_all else self.graph.outputs
        return Arena(
            (raw, entries, filled, walks),
            tuple(_address(row) for row in walks),
            views,
            tuple((name, views[name]) for name in given),
            tuple((value.name, views.get(value.name)) for value in wanted),
        )

    def run(self, arena: "Arena", inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Return outputs, or every activation if `keep_all`."""
        for name, view in arena.given:
            view[...] = inputs[name]
        for (native, first, last), words in zip(self._stages, arena.walks, strict=True):
            if native:
                walk_kernel().on(words)
            else:
                for item in self.items[first:last]:
                    self._step(arena, item)
        return {
            name: np.asarray(inputs[name]) if view is None else view.copy()
            for name, view in arena.wanted
        }

    def _step(self, arena: "Arena", item: Item) -> None:
        assert not isinstance(item.work, Native)
        arrays = [
            self.constants[name] if name in self.constants else np.array(arena.views[name])
            for name in item.inputs
        ]
        for name, array in zip(item.outputs, item.work(arrays), strict=True):
            if name in arena.views:
                arena.views[name][...] = array


@dataclass(frozen=True)
class Arena:
    """The memory of one run.

    Args:
        kept: All that machine code points into: memory, addresses of code, arguments.
        walks: Addresses of the arguments of the kernel that walks a stage.
        views: Activations, without their halos.
        given: Those that are inputs.
        wanted: Those that a run returns; None for an input that nothing reads.
    """

    kept: tuple[Array, ...]
    walks: tuple[int, ...]
    views: Mapping[str, Array]
    given: tuple[tuple[str, Array], ...]
    wanted: tuple[tuple[str, Array | None], ...]


class Runner:
    """A program with the arenas that its runs take and give back; threads may share it."""

    def __init__(self, program: Program) -> None:
        """Make no arena yet."""
        self.program = program
        self._free: list[Arena] = []

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Return what the program returns."""
        try:
            arena = self._free.pop()
        except IndexError:
            arena = self.program.arena()
        made = self.program.run(arena, inputs)
        self._free.append(arena)
        return made


@dataclass(frozen=True)
class _Block:
    """Memory that is needed from one node to another."""

    key: str | int
    bytes: int
    first: int
    last: int


def _packed(blocks: Sequence[_Block]) -> tuple[list[int], int]:
    """Return the byte of every block, so that blocks of one time do not overlap, and all bytes.

    Largest first, each at the lowest free place.
    """
    offsets = [0] * len(blocks)
    placed: list[int] = []
    size = 0
    for index in sorted(range(len(blocks)), key=lambda i: -blocks[i].bytes):
        block = blocks[index]
        at = 0
        for other in sorted(placed, key=offsets.__getitem__):
            there = blocks[other]
            if there.last < block.first or block.last < there.first:
                continue
            if at + block.bytes <= offsets[other]:
                break
            at = max(at, -(-(offsets[other] + there.bytes) // ALIGNMENT) * ALIGNMENT)
        offsets[index] = at
        placed.append(index)
        size = max(size, at + block.bytes)
    return offsets, size


def _address(array: Array) -> int:
    """Return where an array lies."""
    return int(array.__array_interface__["data"][0])


def _storage(value: Value, array: Array | None) -> np.dtype[Any]:
    return np.dtype(value.dtype.storage) if array is None else array.dtype


def _view(memory: NDArray[np.uint8], layout: Layout, value: Value) -> Array:
    """Return the elements of a value as an array over its memory."""
    dtype = np.dtype(value.dtype.storage)
    codes = memory[: layout.bytes].view(dtype)
    if layout.is_flat:
        return codes.reshape(layout.shape)
    batch, height, width, channels = layout.shape
    halo = layout.halo
    padded = (batch, height + halo.top + halo.bottom, width + halo.left + halo.right, channels)
    lines = slice(halo.top, halo.top + height)
    return codes.reshape(padded)[:, lines, halo.left : halo.left + width]
