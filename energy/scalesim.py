"""SCALE-Sim 3.0.0, cycle by cycle: what double-buffered memories do to a systolic array.

Reproduces that simulator, its oddities included, so that its results can be checked and used; it
is no recommendation of them. Words are bytes, sizes are per buffer, half of each buffer works
while the other half is filled or drained.

With unlimited bandwidth (`Memory.bandwidth` None, its mode CALC) a read buffer never waits: it
notes what it misses, and forgets everything whenever a half is full. With a stated bandwidth
(USER) the words come in a fixed order, ten words a cycle whatever the bandwidth; an operand that
is demanded in another order than it is fetched makes the window turn round and round. A wait is
counted twice. The bandwidth itself holds for the results alone.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hwsim.errors import InputError

from .jit import jit
from .systolic import Accesses, Dataflow, Folds, Gemm, Systolic, folds, sram_accesses

_READ_WORDS = 10  # words a cycle that an operand comes at, fixed in the simulator's configuration
_SETS = 100  # a read buffer is managed in so many sets

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Memory:
    """The buffers of a run.

    Args:
        words: Capacity of each of the three buffers.
        bandwidth: Words written a cycle in bandwidth-limited mode; None for no limit.
    """

    words: int
    bandwidth: int | None


@dataclass(frozen=True, slots=True)
class Run:
    """What the simulator reports.

    Args:
        cycles: "Total Cycles": the closed form and the stalls.
        stalls: "Stall Cycles".
        cycles_with_prefetch: "Total Cycles (incl. prefetch)": from the first fetch to the last
            word drained.
        sram: Words between buffers and array; in OS it counts R + C more writes a fold.
        dram: Words between buffers and DRAM, lines rounded up as the simulator does.
    """

    cycles: int
    stalls: int
    cycles_with_prefetch: int
    sram: Accesses
    dram: Accesses


class _Stream(NamedTuple):
    """Which word a lane asks for in a cycle of a fold.

    Args:
        prefix: Cycles before the first word.
        skewed: 1 if a lane starts one cycle after its neighbor.
        staged: 1 if a fold takes its rows of the array (last first), 0 if it takes `depth`
            words in time.
        depth: Words in time.
        lanes: Size that the lanes share out.
        width: Lanes of the array.
        by_columns: 1 if the lanes belong to the column fold, 0 if to the row fold.
    """

    prefix: int
    skewed: int
    staged: int
    depth: int
    lanes: int
    width: int
    by_columns: int


def simulate(array: Systolic, gemm: Gemm, memory: Memory) -> Run:
    """Return what SCALE-Sim 3.0.0 reports for a product.

    Raises:
        InputError: If a size, the capacity or the bandwidth is too small to run.
    """
    if min(gemm.m, gemm.n, gemm.k, array.rows, array.columns) < 1:
        raise InputError(f"sizes of product and array must be positive, not {gemm} on {array}")
    if memory.words < _SETS:
        raise InputError(f"words must be at least {_SETS}, not {memory.words}")
    if memory.bandwidth is not None and memory.bandwidth < 1:
        raise InputError(f"bandwidth must be at least 1 word a cycle, not {memory.bandwidth}")
    found = folds(array, gemm)
    ifmap, weight, ofmap = _streams(array, found)
    shape = np.array(
        [found.row_folds, found.column_folds, found.cycles, array.rows], dtype=np.int64
    )
    sram = sram_accesses(array, gemm)
    write_words = array.columns if memory.bandwidth is None else memory.bandwidth
    writes = np.array([memory.words, memory.words // 2, write_words], dtype=np.int64)
    line_fills = np.zeros(sram.output_writes + 1, dtype=np.int64)
    if memory.bandwidth is None:
        total, stalls, stop, drained = _run_writes(ofmap, shape, writes, line_fills)
        half = memory.words // _SETS * (_SETS // 2)
        read_ifmap, first_ifmap = _misses(ifmap, shape, half)
        read_weight, first_weight = _misses(weight, shape, half)
        started = min(
            _first_fetch(read_ifmap, first_ifmap, memory.words),
            _first_fetch(read_weight, first_weight, memory.words),
        )
    else:
        lines_ifmap, buffer_ifmap = _fetch_order(ifmap, array, found, memory.words)
        lines_weight, buffer_weight = _fetch_order(weight, array, found, memory.words)
        total, stalls, stop, drained, read_ifmap, read_weight = _run_limited(
            (ifmap, weight, ofmap),
            shape,
            (lines_ifmap, lines_weight),
            (buffer_ifmap, buffer_weight),
            writes,
            line_fills,
        )
        started = -max(buffer_ifmap[4], buffer_weight[4])
    if array.dataflow is Dataflow.OUTPUT:
        edges = found.row_folds * found.column_folds * (array.rows + array.columns)
        sram = Accesses(sram.input_reads, sram.weight_reads, sram.output_writes + edges)
    return Run(
        cycles=int(total),
        stalls=int(stalls),
        cycles_with_prefetch=int(stop - started),
        sram=sram,
        dram=Accesses(int(read_ifmap), int(read_weight), int(drained)),
    )


def _streams(array: Systolic, found: Folds) -> tuple[_Stream, _Stream, _Stream]:
    """Return the words asked for of the input and the weight, and made of the output."""
    rows, columns = array.rows, array.columns
    by_row = _Stream(0, 1, 0, found.streamed, found.along_rows, rows, 0)
    by_column = _Stream(0, 1, 0, found.streamed, found.along_columns, columns, 1)
    kept = _Stream(0, 0, 1, found.along_rows, found.along_columns, columns, 1)
    if array.dataflow is Dataflow.OUTPUT:
        return by_row, by_column, kept._replace(prefix=found.streamed - 1, skewed=1)
    moving = by_row._replace(prefix=rows)
    made = by_column._replace(prefix=2 * rows - 1)
    if array.dataflow is Dataflow.WEIGHT:
        return moving, kept, made
    return kept, moving, made


def _fetch_order(
    stream: _Stream, array: Systolic, found: Folds, words: int
) -> tuple[Ints, tuple[int, int, int, int, int]]:
    """Return the set in which each word is fetched, and the buffer's sizes.

    An operand is fetched fold by fold with the array's padding; a skewed one along the diagonals
    of that matrix. Sets count true words, transfers count the padding.

    Returns:
        Set of each word, index time * lanes + lane; sets in total, sets of the working and of the
        filling half, transfers (cycles) of one filling half, transfers of the first fill.
    """
    parts = found.column_folds if stream.by_columns else found.row_folds
    row, lane = np.divmod(np.arange(parts * stream.depth * stream.width), stream.width)
    if stream.skewed:
        order = np.lexsort((lane, row + lane))
        row, lane = row[order], lane[order]
    part, time = np.divmod(row, stream.depth)
    lane = part * stream.width + lane
    true = lane < stream.lanes
    word = time[true] * stream.lanes + lane[true]
    per_set = -(-words // _SETS)
    line = np.empty(word.size, dtype=np.int64)
    line[word] = np.arange(word.size) // per_set
    working = -(-words // 2)
    filling = words - working
    sets = word.size // per_set + 1
    working_sets = min(-(-working // per_set), sets)
    filling_sets = min(-(-filling // per_set), sets - working_sets)
    first = min(-(-working // _READ_WORDS), -(-row.size // _READ_WORDS))
    return line, (sets, working_sets, filling_sets, -(-filling // _READ_WORDS), first)


def _first_fetch(misses: int, first_request: int, words: int) -> int:
    """Return the cycle of the first fetch with unlimited bandwidth: the first half, before time."""
    per_set = words // _SETS
    half = _SETS // 2
    if misses >= half * per_set:
        return int(first_request) + -half * per_set // _READ_WORDS
    sets = -(-misses // per_set)
    return -sets * per_set // _READ_WORDS


@jit
def _word(
    stream: _Stream, rows: int, row_fold: int, column_fold: int, cycle: int, lane: int
) -> int:
    """Return the word that a lane asks for, -1 for none."""
    step = cycle - stream.prefix - stream.skewed * lane
    across = (column_fold if stream.by_columns else row_fold) * stream.width + lane
    if step < 0 or across >= stream.lanes:
        return -1
    if stream.staged:
        if step >= rows:
            return -1
        step = row_fold * rows + rows - 1 - step
    if step >= stream.depth:
        return -1
    return step * stream.lanes + across


@jit
def _misses(stream: _Stream, shape: Ints, half: int) -> tuple[int, int]:
    """Return the words that a buffer of unlimited bandwidth fetches, and the first demand's cycle.

    It remembers words until it has fetched half a buffer, then begins anew.
    """
    seen = np.full(stream.depth * stream.lanes, -1, dtype=np.int64)
    misses = 0
    cycle = 0
    first = -1
    for column_fold in range(shape[1]):
        for row_fold in range(shape[0]):
            for step in range(shape[2]):
                for lane in range(stream.width):
                    word = _word(stream, shape[3], row_fold, column_fold, step, lane)
                    if word < 0:
                        continue
                    if first < 0:
                        first = cycle
                    era = misses // half
                    if seen[word] != era:
                        seen[word] = era
                        misses += 1
                cycle += 1
    return misses, first


# State of a write buffer: words free, words in the line being filled, whole lines, lines drained,
# last cycle of the drain under way, words drained.
_FREE, _OPEN, _LINES, _DRAINED, _BUSY, _WRITTEN = 0, 1, 2, 3, 4, 5


@jit
def _close_line(state: Ints, line_fills: Ints) -> None:
    """End the line being filled, full or not."""
    if state[_OPEN]:
        line_fills[state[_LINES]] = state[_OPEN]
        state[_LINES] += 1
        state[_OPEN] = 0


@jit
def _drain(state: Ints, line_fills: Ints, writes: Ints, cycle: int) -> None:
    """Begin to drain half a buffer; a short line inside it counts as a full one."""
    until = min(state[_DRAINED] - (-writes[1] // writes[2]), state[_LINES])
    lines = until - state[_DRAINED]
    words = (lines - 1) * writes[2] + line_fills[until - 1]
    state[_FREE] += words
    state[_WRITTEN] += words
    state[_BUSY] = cycle + lines - 1
    state[_DRAINED] = until


@jit
def _write_row(
    stream: _Stream,
    rows: int,
    row_fold: int,
    column_fold: int,
    step: int,
    cycle: int,
    state: Ints,
    line_fills: Ints,
    writes: Ints,
) -> int:
    """Return the cycle at which the results of one cycle are taken."""
    now = cycle
    for lane in range(stream.width):
        if _word(stream, rows, row_fold, column_fold, step, lane) < 0:
            continue
        state[_FREE] -= 1
        state[_OPEN] += 1
        if state[_OPEN] == writes[2]:
            _close_line(state, line_fills)
        if now < state[_BUSY]:
            if state[_FREE] <= 0:
                now = state[_BUSY]
        elif state[_FREE] < writes[0] - writes[1]:
            _close_line(state, line_fills)
            _drain(state, line_fills, writes, now)
    return now


@jit
def _finish(state: Ints, line_fills: Ints, writes: Ints, cycle: int) -> int:
    """Drain what is left and return the cycle of the last word."""
    stop = state[_BUSY]
    _close_line(state, line_fills)
    while state[_DRAINED] < state[_LINES]:
        _drain(state, line_fills, writes, cycle)
        stop = max(stop, state[_BUSY])
        cycle = state[_BUSY] + 1
    return int(stop)


@jit
def _run_writes(
    ofmap: _Stream, shape: Ints, writes: Ints, line_fills: Ints
) -> tuple[int, int, int, int]:
    """Return total cycles, stalls, last drained cycle and words where reads never wait."""
    state = np.zeros(6, dtype=np.int64)
    state[_FREE] = writes[0]
    cycle = 0
    stalls = 0
    taken = 0
    total = 0
    for column_fold in range(shape[1]):
        for row_fold in range(shape[0]):
            for step in range(shape[2]):
                now = cycle + stalls
                taken = _write_row(
                    ofmap, shape[3], row_fold, column_fold, step, now, state, line_fills, writes
                )
                total = max(total, taken)
                stalls += taken - now
                cycle += 1
    stop = _finish(state, line_fills, writes, taken)
    return total, stalls, stop, state[_WRITTEN]


# State of a read buffer: first set and end of the working half, cycle of the last transfer,
# half-buffers fetched after the first.
_START, _END, _LAST, _FETCHES = 0, 1, 2, 3


@jit
def _read_row(
    stream: _Stream,
    rows: int,
    row_fold: int,
    column_fold: int,
    step: int,
    cycle: int,
    line: Ints,
    buffer: tuple[int, int, int, int, int],
    state: Ints,
) -> int:
    """Return the cycles that the words of one cycle are late; below 0 when a fetch was early."""
    sets, working, filling, transfers, _ = buffer
    late = 0
    for lane in range(stream.width):
        word = _word(stream, rows, row_fold, column_fold, step, lane)
        if word < 0:
            continue
        while True:
            start, end = state[_START], state[_END]
            if start < end:
                hit = start <= line[word] < end
            else:
                hit = line[word] >= start or line[word] < end
            if hit:
                break
            state[_START] = (start + filling) % sets
            state[_END] = (state[_START] + working) % sets
            state[_LAST] += transfers + 1
            state[_FETCHES] += 1
            wait = state[_LAST] - (cycle + 1 + late)
            late += 2 * wait if wait > 0 else wait
    return late


@jit
def _run_limited(
    streams: tuple[_Stream, _Stream, _Stream],
    shape: Ints,
    lines: tuple[Ints, Ints],
    buffers: tuple[tuple[int, int, int, int, int], tuple[int, int, int, int, int]],
    writes: Ints,
    line_fills: Ints,
) -> tuple[int, int, int, int, int, int]:
    """Return total cycles, stalls, last drained cycle, and words of the three operands."""
    out = np.zeros(6, dtype=np.int64)
    out[_FREE] = writes[0]
    ifmap = np.array([0, buffers[0][1], -1, 0], dtype=np.int64)
    weight = np.array([0, buffers[1][1], -1, 0], dtype=np.int64)
    cycle = 0
    stalls = 0
    taken = 0
    total = 0
    for column_fold in range(shape[1]):
        for row_fold in range(shape[0]):
            for step in range(shape[2]):
                now = cycle + stalls
                late = _read_row(
                    streams[0], shape[3], row_fold, column_fold, step, now,
                    lines[0], buffers[0], ifmap,
                )  # fmt: skip
                late = max(late, _read_row(
                    streams[1], shape[3], row_fold, column_fold, step, now,
                    lines[1], buffers[1], weight,
                ))  # fmt: skip
                taken = _write_row(
                    streams[2], shape[3], row_fold, column_fold, step, now, out, line_fills, writes
                )
                total = max(total, taken)
                stalls += max(late, taken - now)
                cycle += 1
    stop = _finish(out, line_fills, writes, taken)
    fetched = _READ_WORDS * (buffers[0][4] + ifmap[_FETCHES] * buffers[0][3])
    weights = _READ_WORDS * (buffers[1][4] + weight[_FETCHES] * buffers[1][3])
    return total, stalls, stop, out[_WRITTEN], fetched, weights
