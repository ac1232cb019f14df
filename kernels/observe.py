"""Looks into the accumulators of a graph while it runs on given inputs."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import reduce
from typing import TypeVar

import numpy as np

from hwsim.accumulation import Narrowed, Observed
from hwsim.batch import batch_size, entries, with_batch
from hwsim.graph import Graph
from hwsim.profile import NumericProfile, Overflow

from .lower_linear import Array
from .lower_narrow import EXACT, Accumulation, Register, accumulation
from .plan import CHUNK, Plan, lower
from .scaling import Site

T = TypeVar("T")
Progress = Callable[[int], None]


class _Bench:
    """A graph for one batch, with every accumulating node taken apart."""

    def __init__(self, graph: Graph, profile: NumericProfile, nodes: frozenset[str]) -> None:
        self.plan: Plan = lower(graph, profile)
        self.parts: list[tuple[str, tuple[str, ...], Accumulation]] = []
        for node in graph.nodes:
            parts = accumulation(Site(graph, node, profile)) if node.name in nodes else None
            if parts is not None:
                self.parts.append((node.name, tuple(filter(None, node.inputs)), parts))

    def each(self, inputs: Mapping[str, Array]) -> Iterator[tuple[str, Accumulation, list[Array]]]:
        """Yield nodes with the arrays that reach them."""
        arrays = {**self.plan.constants, **inputs, **self.plan.run(inputs, keep_all=True)}
        for name, operands, parts in self.parts:
            yield name, parts, [arrays[operand] for operand in operands]


def observe(
    graph: Graph,
    profile: NumericProfile,
    nodes: frozenset[str],
    inputs: Mapping[str, Array],
    threads: int,
    progress: Progress | None,
) -> dict[str, Observed]:
    """Return the range of each node's accumulators on the inputs."""

    def measure(bench: _Bench, part: Mapping[str, Array]) -> dict[str, Observed]:
        found = {}
        for name, parts, arrays in bench.each(part):
            sums = parts.sums(arrays, EXACT)
            found[name] = Observed(
                sums.final.size,
                int(sums.final.min()),
                int(sums.final.max()),
                int(sums.least.min()),
                int(sums.most.max()),
            )
        return found

    made = _over_slabs(graph, profile, nodes, inputs, threads, progress, measure)
    return {name: reduce(Observed.joined, (part[name] for part in made)) for name in made[0]}


def count_narrowed(
    graph: Graph,
    profile: NumericProfile,
    widths: Mapping[str, tuple[int, ...]],
    inputs: Mapping[str, Array],
    threads: int,
    progress: Progress | None,
) -> dict[str, tuple[Narrowed, ...]]:
    """Return what accumulators of other widths do to each node, as `widths` lists them.

    Each node gets the inputs that it has under the profile itself: layers are judged one by one.
    """

    def measure(bench: _Bench, part: Mapping[str, Array]) -> dict[str, tuple[Narrowed, ...]]:
        return {
            name: _narrowed(parts, arrays, widths[name]) for name, parts, arrays in bench.each(part)
        }

    made = _over_slabs(graph, profile, frozenset(widths), inputs, threads, progress, measure)
    return {
        name: tuple(
            reduce(Narrowed.joined, (part[name][place] for part in made))
            for place in range(len(widths[name]))
        )
        for name in made[0]
    }


def _narrowed(
    parts: Accumulation, arrays: Sequence[Array], widths: Sequence[int]
) -> tuple[Narrowed, ...]:
    exact = parts.sums(arrays, EXACT)
    codes = parts.codes(exact.final)
    rows = []
    for bits in widths:
        low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
        wrapped = Register(bits, Overflow.WRAP).held(exact.final)
        saturated = np.count_nonzero((exact.least < low) | (exact.most > high))
        stopped = exact.final
        if saturated:
            stopped = parts.sums(arrays, Register(bits, Overflow.SATURATE)).final
        rows.append(
            Narrowed(
                bits,
                wrapped=int(np.count_nonzero(wrapped != exact.final)),
                wrapped_codes=int(np.count_nonzero(parts.codes(wrapped) != codes)),
                saturated=int(saturated),
                saturated_codes=int(np.count_nonzero(parts.codes(stopped) != codes)),
            )
        )
    return tuple(rows)


def _over_slabs(
    graph: Graph,
    profile: NumericProfile,
    nodes: frozenset[str],
    inputs: Mapping[str, Array],
    threads: int,
    progress: Progress | None,
    measure: Callable[[_Bench, Mapping[str, Array]], T],
) -> list[T]:
    """Measure slabs of the inputs that do not see each other."""
    own, total = batch_size(graph, inputs)
    size = max(own, min(CHUNK, total))
    if with_batch(graph, size) is None:
        size = own
    benches = {
        rows: _Bench(with_batch(graph, rows) or graph, profile, nodes)
        for rows in {size, total % size or size}
    }

    def slab(start: int) -> T:
        stop = min(start + size, total)
        made = measure(benches[stop - start], entries(graph, inputs, start, stop))
        if progress is not None:
            progress(stop - start)
        return made

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(slab, range(0, total, size)))
