"""Many configurations of one network over the same inputs: what they share is computed once."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from hwsim.batch import batch_size, entries, with_batch
from hwsim.errors import GraphError, HwsimError, InputError
from hwsim.graph import Graph
from hwsim.inputs import Arrays, checked_inputs, named_inputs
from hwsim.profile import NumericProfile

from .lower_linear import Array
from .plan import CHUNK, Plan, lower
from .sharing import Pass, Schedule, Shared, Task

DEFAULT_LIMIT = 1 << 30


@dataclass(frozen=True, slots=True)
class SweepWork:
    """What a sweep does and holds, known before it starts.

    Args:
        configurations: How many.
        blocks: Runs of consecutive inputs that are computed together; each is swept by itself.
        pieces: Pieces of all configurations, had each been run by itself, per block.
        computed: Pieces that are run, per block.
        lowered: Different pieces: each is lowered and its weights are packed once if they fit.
        limit_bytes: What the caller allows to be kept.
        plan_bytes: Constants and packed weights that are kept.
        kept_bytes: Largest size of the values that wait for a later configuration, all threads.
        working_bytes: Largest size of all values at one time, all threads, the kept among them.
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


@dataclass
class _Plans:
    """Lowered pieces by number; the longest unused ones make way where the limit is reached."""

    pieces: Mapping[int, Graph]
    profile: NumericProfile
    limit: int
    size: int = 0
    _plans: OrderedDict[int, tuple[Plan, int]] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def of(self, number: int) -> Plan:
        """Return the plan of a piece, lowered now if it is not kept."""
        with self._lock:
            found = self._plans.get(number)
            if found is not None:
                self._plans.move_to_end(number)
                return found[0]
        plan = lower(self.pieces[number], self.profile)
        size = plan_bytes(plan)
        with self._lock:
            if number not in self._plans and size <= self.limit:
                self._plans[number] = plan, size
                self.size += size
                while self.size > self.limit:
                    self.size -= self._plans.popitem(last=False)[1][1]
        return plan


def plan_bytes(plan: Plan) -> int:
    """Return the size of the arrays that a plan holds."""
    arrays = {id(array): array.nbytes for array in plan.constants.values()}
    for call in plan.calls:
        for constant in call.constants.values():
            parts = constant if isinstance(constant, tuple) else (constant,)
            arrays |= {id(part): part.nbytes for part in parts if isinstance(part, np.ndarray)}
    return sum(arrays.values())


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
        for part in self._schedule.passes:
            for task in part.tasks:
                self._run_task(task, given, arrays)
            made = self._outputs(part, arrays, start - first)
            for number in part.frees:
                del arrays[number]
            if progress is not None:
                progress(first + self._size - start)
            yield Swept(part.name, start, first + self._size, made)

    def _run_task(self, task: Task, given: Mapping[str, Array], arrays: dict[int, Array]) -> None:
        piece = self._plans.pieces[task.piece]
        if not piece.nodes:
            name = piece.input_names[0]
            rounding = self._plans.profile.input_rounding
            made = checked_inputs(piece, {name: given[name]}, rounding)
        else:
            read = (arrays[number] for number in task.reads)
            operands = dict(zip(piece.input_names, read, strict=True))
            made = self._plans.of(task.piece).run(operands)
        for number, name in zip(task.makes, piece.output_names, strict=True):
            arrays[number] = made[name]
        for number in task.frees:
            del arrays[number]

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
        limit_bytes: What may be kept for later use: lowered pieces first, up to half of it, then
            values, an equal part for each thread. The values of one running pass come on top.

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
    shared = Shared.of(sized.items())
    plans = _Plans(shared.pieces, profile, limit_bytes // 2)
    _lower_all(shared, plans)
    blocks = -(-total // size)
    threads = min(threads, blocks)
    chosen = shared.within((limit_bytes - plans.size) // threads)
    work = SweepWork(
        configurations=len(configurations),
        blocks=blocks,
        pieces=chosen.total,
        computed=chosen.computed,
        lowered=sum(bool(piece.nodes) for piece in shared.pieces.values()),
        limit_bytes=limit_bytes,
        plan_bytes=plans.size,
        kept_bytes=threads * chosen.kept_bytes,
        working_bytes=threads * chosen.working_bytes,
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


def _lower_all(shared: Shared, plans: _Plans) -> None:
    """Prove and lower every piece before an input is seen; those that fit are kept."""
    for number, piece in shared.pieces.items():
        if piece.nodes:
            try:
                plans.of(number)
            except HwsimError as error:
                raise GraphError(f"configuration {shared.users[number]!r}: {error}") from error
