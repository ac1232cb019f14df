"""Many configurations of one network over the same inputs: what they share is computed once."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import numpy as np

from hwsim.batch import batch_size, entries, with_batch
from hwsim.errors import GraphError, HwsimError, InputError
from hwsim.graph import Graph
from hwsim.inputs import Arrays, checked_inputs, named_inputs
from hwsim.profile import NumericProfile

from .lower_linear import Array
from .plan import CHUNK, Call, Plan, lower
from .sharing import Pass, Schedule, Shared

DEFAULT_LIMIT = 1 << 30


@dataclass(frozen=True, slots=True)
class SweepWork:
    """What a sweep does and holds, known before it starts.

    Args:
        configurations: How many.
        blocks: Runs of consecutive inputs that are computed together; each is swept by itself.
        pieces: Pieces of all configurations, had each been run by itself, per block.
        computed: Pieces that are run, per block.
        lowered: Different pieces: each is proved and lowered, its weights packed, once if it fits.
        limit_bytes: What the caller allows to be kept.
        plan_bytes: Constants, packed weights and arenas that are kept.
        kept_bytes: Largest size of the values that wait for a later configuration, all threads.
        working_bytes: Largest size of the values of one running configuration and of those that
            wait, all threads.
        dropped: Values computed again because the limit had no room for them, per block.
    """

    configurations: int
    blocks: int
    pieces: int
    computed: int
    lowered: int
    limit_bytes: int
    plan_bytes: int
    kept_bytes: int
    working_bytes: int
    dropped: int


@dataclass(frozen=True)
class Swept:
    """One configuration's outputs on consecutive inputs.

    Args:
        name: The configuration's.
        start: The first input.
        stop: The input after the last.
        outputs: Arrays by output name; other configurations may share them, so do not write.
    """

    name: str
    start: int
    stop: int
    outputs: Mapping[str, Array]


class _Plans:
    """The plans of passes, put together from lowered pieces.

    Plans that fit the limit are kept with their pieces; others are made again for each use.
    """

    def __init__(self, shared: Shared, profile: NumericProfile, limit: int, threads: int) -> None:
        """Keep none yet."""
        self.shared, self.profile, self.limit, self.threads = shared, profile, limit, threads
        self.bytes = 0
        self._pieces: dict[int, tuple[Call, ...]] = {}
        self._passes: dict[int, Plan] = {}
        self._counted: dict[int, Array] = {}

    def prepare(self, passes: Sequence[Pass]) -> int:
        """Prove, lower and pack everything; keep what fits.

        Returns:
            The largest size of the values of any pass, in bytes.

        Raises:
            GraphError: If a configuration may not run under the profile.
        """
        most = 0
        for index, part in enumerate(passes):
            working = part.working_bytes
            if part.graph is not None:
                pieces = self._lowered(part)
                plan = _joined(part.graph, [call for n in part.pieces for call in pieces[n]])
                arena = plan.program.arena_bytes if plan.program else 0
                working = part.held_bytes + arena if plan.program else working
                self._keep(index, plan, pieces, arena)
            most = max(most, working)
        return most

    def of(self, index: int, part: Pass) -> Plan:
        """Return the plan of a pass that runs nodes."""
        kept = self._passes.get(index)
        if kept is not None:
            return kept
        assert part.graph is not None
        pieces = self._lowered(part)
        return _joined(part.graph, [call for number in part.pieces for call in pieces[number]])

    def _keep(
        self, index: int, plan: Plan, pieces: Mapping[int, tuple[Call, ...]], arena: int
    ) -> None:
        """Keep a plan if there is room; what another plan holds already takes none."""
        new = {id(array): array for array in _arrays(plan) if id(array) not in self._counted}
        size = self.threads * arena + sum(array.nbytes for array in new.values())
        if self.bytes + size <= self.limit:
            self.bytes += size
            self._counted |= new
            self._passes[index] = plan
            self._pieces |= pieces

    def _lowered(self, part: Pass) -> dict[int, tuple[Call, ...]]:
        """Return the lowered pieces of a pass by number."""
        found = {}
        for number in dict.fromkeys(part.pieces):
            kept = self._pieces.get(number)
            try:
                found[number] = kept or lower(self.shared.pieces[number], self.profile).calls
            except HwsimError as error:
                user = self.shared.users[number]
                raise GraphError(f"configuration {user!r}: {error}") from error
        return found


def _joined(graph: Graph, calls: Sequence[Call]) -> Plan:
    """Return the plan of lowered pieces in a row."""
    last = {name: index for index, call in enumerate(calls) for name in call.inputs}
    staying = {*graph.output_names, *(n for n, v in graph.values.items() if v.is_constant)}
    ready = tuple(
        replace(
            call,
            dead=tuple(
                name
                for name in dict.fromkeys(call.inputs)
                if last[name] == index and name not in staying
            ),
        )
        for index, call in enumerate(calls)
    )
    constants = {n: value.data for n, value in graph.values.items() if value.data is not None}
    return Plan(graph, ready, constants)


def _arrays(plan: Plan) -> list[Array]:
    """Return the arrays that a plan computes with."""
    found = [*plan.constants.values(), *(plan.program.arrays if plan.program else ())]
    for call in plan.calls:
        if call.native is None:  # the reference of machine code is not there until it is asked for
            for constant in call.constants.values():
                parts = constant if isinstance(constant, tuple) else (constant,)
                found += [part for part in parts if isinstance(part, np.ndarray)]
    return found


@dataclass(frozen=True)
class Sweep:
    """A planned sweep: it knows its cost, and runs when it is iterated over.

    Args:
        work: What it does and holds.
    """

    work: SweepWork
    _schedule: Schedule = field(repr=False)
    _plans: _Plans = field(repr=False)
    _graph: Graph = field(repr=False)
    _inputs: Mapping[str, Array] = field(repr=False)
    _size: int
    _threads: int

    def run(self, progress: Callable[[int], None] | None = None) -> Iterator[Swept]:
        """Yield every configuration's outputs on every block of inputs.

        Blocks come in order. Within one, configurations come in the order that shares most.

        Args:
            progress: Called with the inputs finished by one configuration.
        """
        _, total = batch_size(self._graph, self._inputs)
        starts = range(0, total, self._size)
        if self._threads == 1:
            for start in starts:
                yield from self._block(start, total, progress)
            return
        with ThreadPoolExecutor(self._threads) as pool:
            pending: list[Future[list[Swept]]] = []
            for start in starts:
                pending.append(pool.submit(self._listed, start, total, progress))
                if len(pending) == self._threads:  # results of blocks not yet taken cost memory
                    yield from pending.pop(0).result()
            for waiting in pending:
                yield from waiting.result()

    def _listed(
        self, start: int, total: int, progress: Callable[[int], None] | None
    ) -> list[Swept]:
        return list(self._block(start, total, progress))

    def _block(
        self, start: int, total: int, progress: Callable[[int], None] | None
    ) -> Iterator[Swept]:
        # The last block is moved back to be full: its first entries are computed again and cut.
        first = min(start, total - self._size)
        given = entries(self._graph, self._inputs, first, first + self._size)
        arrays: dict[int, Array] = {}
        for index, part in enumerate(self._schedule.passes):
            self._run_pass(index, part, given, arrays)
            made = self._outputs(part, arrays, start - first)
            for number in part.frees:
                del arrays[number]
            if progress is not None:
                progress(first + self._size - start)
            yield Swept(part.name, start, first + self._size, made)

    def _run_pass(
        self, index: int, part: Pass, given: Mapping[str, Array], arrays: dict[int, Array]
    ) -> None:
        for number, single in part.converts:
            (name,) = single.input_names
            rounding = self._plans.profile.input_rounding
            arrays[number] = checked_inputs(single, {name: given[name]}, rounding)[name]
        if part.graph is not None:
            operands = {name: arrays[number] for name, number in part.reads.items()}
            made = self._plans.of(index, part).run(operands)
            arrays |= {number: made[name] for name, number in part.makes.items()}

    @staticmethod
    def _outputs(part: Pass, arrays: Mapping[int, Array], cut: int) -> dict[str, Array]:
        made = {name: arrays[number] for name, number in part.outputs.items()}
        for name, value in part.constants.items():
            assert value.data is not None
            made[name] = value.data
        return {name: array[cut:] if cut else array for name, array in made.items()}


def plan_sweep(
    configurations: Mapping[str, Graph],
    profile: NumericProfile,
    inputs: Arrays,
    *,
    threads: int = 1,
    batch: int = CHUNK,
    limit_bytes: int = DEFAULT_LIMIT,
) -> Sweep:
    """Plan configurations of one network over the same inputs.

    Every value that two configurations compute from the same inputs by the same operators is
    computed once, every piece of a graph that they share is lowered once. What is shared is kept
    as long as a later configuration needs it and the limit has room; what has none is computed
    again. No bit depends on the limit, the batch or the threads.

    Args:
        configurations: Integer graphs by name, with inputs of the same names and shapes.
        profile: The arithmetic of them all.
        inputs: As for `run`: codes, or floats that each configuration quantizes by its own
            parameters.
        threads: Blocks of inputs computed at a time; each keeps its own values.
        batch: Inputs of a block.
        limit_bytes: What may be kept for later use: half of it for lowered pieces and the arenas
            of passes, half for values, an equal part for each thread. The values of one running
            pass come on top.

    Raises:
        InputError: If an input does not fit, an option is out of range, or the configurations'
            inputs differ.
        GraphError: If a configuration may not run under the profile.
    """
    for name, option in (("threads", threads), ("batch", batch)):
        if option < 1:
            raise InputError(f"{name} must be 1 or more, not {option}")
    if limit_bytes < 0:
        raise InputError(f"limit_bytes must be 0 or more, not {limit_bytes}")
    graph = _common(configurations)
    checked_inputs(graph, inputs, profile.input_rounding)
    arrays = named_inputs(graph, inputs)
    own, total = batch_size(graph, arrays)
    size = max(own, min(batch, total))
    if size > own:
        larger = {name: with_batch(one, size) for name, one in configurations.items()}
        sized = {name: one for name, one in larger.items() if one is not None}
    if size == own or len(sized) < len(larger):
        sized, size = dict(configurations), own
    blocks = -(-total // size)
    threads = min(threads, blocks)
    shared = Shared.of(sized.items())
    plans = _Plans(shared, profile, limit_bytes // 2, threads)
    chosen = shared.within((limit_bytes - limit_bytes // 2) // threads)
    working = plans.prepare(chosen.passes)
    work = SweepWork(
        configurations=len(configurations),
        blocks=blocks,
        pieces=chosen.total,
        computed=chosen.computed,
        lowered=len(shared.pieces),
        limit_bytes=limit_bytes,
        plan_bytes=plans.bytes,
        kept_bytes=threads * chosen.kept_bytes,
        working_bytes=threads * working,
        dropped=chosen.dropped,
    )
    return Sweep(work, chosen, plans, graph, arrays, size, threads)


def _common(configurations: Mapping[str, Graph]) -> Graph:
    """Return the first configuration, whose inputs are everyone's."""
    if not configurations:
        raise InputError("configurations must hold at least one graph, not none")
    first_name, first = next(iter(configurations.items()))
    wanted = {value.name: value.shape for value in first.inputs}
    for name, graph in configurations.items():
        found = {value.name: value.shape for value in graph.inputs}
        if found != wanted:
            raise InputError(
                f"configuration {name!r} must have the inputs of {first_name!r}, {wanted}, "
                f"not {found}"
            )
    return first
