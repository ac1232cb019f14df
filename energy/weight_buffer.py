"""Whether, and in which slices, a layer's weights are fetched ahead into the inner memory.

Weights lie outside. A layer that reads them more than once, or that runs longer than they take to
come, is better served from the inner memory: the first slice of output channels comes while the
layer before runs, each further one while its forerunner is computed.

Source: the scheduler of Arm Vela 5.2.0 (Apache-2.0), for performance, without cascades. Sizes of
slices are taken in proportion to their channels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from .block_cycles import Place, access_of, pass_cycles
from .block_engine import Engine, Port
from .block_pass import Pass
from .block_search import Block

_SPLIT_DEPTH = 16
_STARTUP_CYCLES = 1000  # a delay below this is noise of the schedule, says Vela
_ALIGNMENT = 16
_LEAST_FILLED = 0.3  # of a block's depth


@dataclass(frozen=True, slots=True)
class Stored:
    """The weights of a layer as they lie outside.

    Args:
        weight_bytes: Encoded weights.
        scale_bytes: Biases and scales beside them.
    """

    weight_bytes: int
    scale_bytes: int

    @property
    def total(self) -> int:
        """All bytes of a transfer."""
        return _up(self.weight_bytes + self.scale_bytes, _ALIGNMENT)


@dataclass(frozen=True, slots=True)
class Slack:
    """What the layer before leaves to a transfer.

    Args:
        cycles: Time that it runs while the transfer goes on.
        memory: Bytes of the inner memory that it does not use.
    """

    cycles: int
    memory: int


@dataclass(frozen=True, slots=True)
class Buffered:
    """How the weights of a layer are fetched ahead.

    Args:
        first_bytes: The slice that comes before the layer starts.
        ahead: Whether it comes while the layer before runs.
        last_cycles: Time of the last slice: what it leaves to the next layer's transfer.
        last_bytes: The buffer of the last slice.
    """

    first_bytes: int
    ahead: bool
    last_cycles: int
    last_bytes: int


@dataclass(frozen=True, slots=True)
class _Run:
    """What a layer takes, slice by slice."""

    cycles: int
    hidden_not: int
    weight_read: int
    ifm_read: int
    last_cycles: int

    @property
    def full(self) -> int:
        return self.cycles + self.hidden_not


def transfer_cycles(engine: Engine, size: int) -> int:
    """Return the cycles that bring so many bytes from the outer to the inner memory."""
    source, sink = engine.weights, engine.activations
    return max(
        int(size / source.bytes_per_cycle) + source.read_latency,
        int(size / sink.bytes_per_cycle) + sink.write_latency,
    )


def buffered(
    engine: Engine, work: Pass, block: Block, stored: Stored, before: Slack | None, limit: int
) -> Buffered | None:
    """Return how a layer's weights are fetched ahead, None where they are read in place.

    Args:
        engine: What it runs on.
        work: The layer's pass.
        block: Its blocks.
        stored: Its weights.
        before: What the layer before leaves; None for the first.
        limit: Bytes of the inner memory that this layer leaves free.
    """
    depth, size = work.ofm[2], stored.total
    fetches = access_of(engine, work, block).weight_fetches
    transfer = transfer_cycles(engine, size)
    in_place = _read_cycles(engine.weights, size) * fetches
    from_buffer = _read_cycles(engine.activations, size) * fetches
    if from_buffer >= in_place:
        return None
    slack = before.cycles if before else 0
    room = before.memory if before else limit
    smallest = int(transfer * (min(depth, _SPLIT_DEPTH) / depth))
    at_start = before is None and fetches > 1
    at_start = at_start and (smallest < in_place // 10 or smallest <= _STARTUP_CYCLES)
    reference = _run(engine, work, block, [0, depth], stored, slack=None)
    dominated = reference.cycles > in_place
    worth = (
        at_start
        or from_buffer + max(transfer - slack, 0) < in_place
        or depth // block.ofm[2] > 2
        or (before is not None and smallest < slack and fetches > 1)
    )
    if not worth:
        return None

    share = _first_share(depth, size, transfer, slack, limit, dominated=dominated)
    cuts = _cuts(engine, work, block, size, transfer, share, limit)
    step = cuts[2] - cuts[1] if len(cuts) > 3 else 0
    if step and dominated and step / _up(step, block.ofm[2]) < _LEAST_FILLED:
        return None
    sizes = _slice_bytes(cuts, size)
    parts = (max(sizes[::2]), max(sizes[1::2], default=0))
    if sum(parts) > limit:
        return None
    ahead = before is not None and parts[0] < room
    usable = slack if ahead else (_STARTUP_CYCLES if at_start else 0)
    run = _run(engine, work, block, cuts, stored, slack=usable)
    old = max(reference.cycles, reference.weight_read, run.ifm_read)
    new = max(run.full, run.weight_read, run.ifm_read)
    if dominated:
        if run.hidden_not // len(sizes) < _STARTUP_CYCLES:
            new -= run.hidden_not
        if len(sizes) > 1 and run.full == new and at_start:
            new -= len(sizes) * (_STARTUP_CYCLES // 2)
    if old < new or (fetches == 1 and transfer + run.weight_read > old):
        return None
    return Buffered(sizes[0], ahead, run.last_cycles, parts[(len(sizes) - 1) % 2])


def _first_share(
    depth: int, size: int, transfer: int, slack: int, limit: int, *, dominated: bool
) -> float:
    """Return the share of the weights that comes before the layer starts."""
    least = min(_SPLIT_DEPTH / depth, 1.0)
    hidden = min(slack / transfer, 1.0)
    aligned = int(hidden / least) * least
    share = 1.0 if 1.0 - aligned < least / 2 else hidden
    if dominated and 0.5 < share < 1.0:
        share = min(max(_up(depth // 2, _SPLIT_DEPTH) / depth, 0.5), 1.0)
    return min(max(share, least), min(limit / 2 / size, 1.0))


def _cuts(
    engine: Engine, work: Pass, block: Block, size: int, transfer: int, share: float, limit: int
) -> list[int]:
    """Return the output channels at which the weights are cut, both ends included."""
    depth, deep = work.ofm[2], block.ofm[2]
    first = max(int(depth * share) // _SPLIT_DEPTH * _SPLIT_DEPTH, _SPLIT_DEPTH)
    if share >= 1.0 or first >= depth:
        return [0, depth]
    head = pass_cycles(engine, work.to_depth(first), block, Place.FIRST, staged=True).total
    step = _up(max(int(depth * head / transfer), _SPLIT_DEPTH), deep)
    half = limit // 2
    if step / depth * size > half:
        step = int(half / size * depth)
    while True:
        grain = deep if step > deep else _SPLIT_DEPTH
        step = max(step // grain * grain, _SPLIT_DEPTH)
        cuts = [0, *range(first, depth, step), depth]
        smallest = first == _SPLIT_DEPTH and step == _SPLIT_DEPTH
        if smallest or max(_slice_bytes(cuts, size)) <= half:
            return cuts
        if step > first:
            step = _up(step // 2, _SPLIT_DEPTH)
        else:
            first = _up(first // 2, _SPLIT_DEPTH)


def _run(
    engine: Engine,
    work: Pass,
    block: Block,
    cuts: Sequence[int],
    stored: Stored,
    *,
    slack: int | None,
) -> _Run:
    """Return what a layer takes in slices: read in place if no slack is given, else buffered."""
    staged = slack is not None
    hidden = slack or 0
    port = engine.activations if staged else engine.weights
    sizes = _slice_bytes(cuts, stored.total)
    total = visible = weights = fetches = inputs = cycles = 0
    for index, ((start, end), size) in enumerate(zip(pairwise(cuts), sizes, strict=True)):
        part = work.to_depth(end - start)
        place = _place(index, len(sizes))
        access = access_of(engine, part, block)
        cycles = pass_cycles(engine, part, block, place, staged=staged).total
        if staged:
            visible += max(transfer_cycles(engine, size) - hidden, 0)
        hidden = cycles if len(sizes) > 1 else 0
        total += cycles
        weights += size * access.weight_fetches
        fetches += access.weight_fetches
        inputs += access.input_bytes
    return _Run(
        cycles=total,
        hidden_not=visible,
        weight_read=_read_cycles(port, weights // fetches) * fetches,
        ifm_read=_read_cycles(engine.activations, inputs),
        last_cycles=cycles,
    )


def _place(index: int, count: int) -> Place:
    """Return where a slice stands."""
    if count == 1:
        return Place.ALONE
    if index == 0:
        return Place.FIRST
    return Place.LAST if index == count - 1 else Place.MIDDLE


def _slice_bytes(cuts: Sequence[int], size: int) -> list[int]:
    """Return the bytes of each slice, in proportion to its channels."""
    return [_up(size * (end - start) // cuts[-1], _ALIGNMENT) for start, end in pairwise(cuts)]


def _read_cycles(port: Port, size: int) -> int:
    return int(size / port.bytes_per_cycle + port.read_latency)


def _up(value: int, step: int) -> int:
    """Return the next multiple of a step."""
    return -(-value // step) * step
