"""A graph under a profile as a list of kernel calls."""

import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache, partial
from types import MappingProxyType

import numpy as np

from hwsim.batch import batch_size, entries, joined, own_batch, with_batch
from hwsim.errors import GraphError, HwsimError
from hwsim.graph import Graph, Node
from hwsim.ops import Op
from hwsim.profile import NumericProfile
from hwsim.verify import verify

from .arith import Scaling
from .lower_add import lower_add, lower_squared_difference
from .lower_float32 import lower_dynamic_quantize
from .lower_gelu import lower_gelu
from .lower_linear import (
    Array,
    Lowered,
    Step,
    lower_conv_2d,
    lower_depthwise_conv_2d,
    lower_fully_connected,
    lower_matmul,
    lower_transpose_conv,
)
from .lower_move import (
    lower_concatenation,
    lower_gather,
    lower_pad,
    lower_reshape,
    lower_split,
    lower_strided_slice,
    lower_transpose,
)
from .lower_narrow import lower_narrow
from .lower_norm import lower_norm
from .lower_pointwise import (
    lower_dequantize,
    lower_extremum,
    lower_leaky_relu,
    lower_mul,
    lower_rescale,
    lower_rsqrt,
)
from .lower_recurrent import lower_lstm, lower_svdf
from .lower_reduce import lower_mean, lower_pool
from .lower_softmax import lower_softmax
from .lower_table import lower_table
from .native.call import Native
from .native.operators import native_node
from .native.program import Item, Program, Runner
from .scaling import Site

KERNELS: Mapping[Op, Callable[[Site], Step | Lowered]] = MappingProxyType(
    {
        Op.CONV_2D: lower_conv_2d,
        Op.DEPTHWISE_CONV_2D: lower_depthwise_conv_2d,
        Op.TRANSPOSE_CONV: lower_transpose_conv,
        Op.FULLY_CONNECTED: lower_fully_connected,
        Op.MATMUL: lower_matmul,
        Op.LSTM: lower_lstm,
        Op.SVDF: lower_svdf,
        Op.ADD: lower_add,
        Op.SUB: lower_add,
        Op.MUL: lower_mul,
        Op.MAXIMUM: lower_extremum,
        Op.MINIMUM: lower_extremum,
        Op.SQUARED_DIFFERENCE: lower_squared_difference,
        Op.AVERAGE_POOL_2D: lower_pool,
        Op.MAX_POOL_2D: lower_pool,
        Op.MEAN: lower_mean,
        Op.SOFTMAX: lower_softmax,
        Op.LAYER_NORM: lower_norm,
        Op.RMS_NORM: lower_norm,
        Op.RELU: lower_rescale,
        Op.RELU6: lower_rescale,
        Op.RELU_N1_TO_1: lower_rescale,
        Op.CLIP: lower_rescale,
        Op.LEAKY_RELU: lower_leaky_relu,
        Op.LOGISTIC: lower_table,
        Op.TANH: lower_table,
        Op.HARD_SWISH: lower_table,
        Op.GELU: lower_gelu,
        Op.SILU: lower_table,
        Op.EXP: lower_table,
        Op.RSQRT: lower_rsqrt,
        Op.RESHAPE: lower_reshape,
        Op.TRANSPOSE: lower_transpose,
        Op.PAD: lower_pad,
        Op.CONCATENATION: lower_concatenation,
        Op.STRIDED_SLICE: lower_strided_slice,
        Op.SPLIT: lower_split,
        Op.GATHER: lower_gather,
        Op.QUANTIZE: lower_rescale,
        Op.DEQUANTIZE: lower_dequantize,
        Op.DYNAMIC_QUANTIZE: lower_dynamic_quantize,
    }
)

WEIGHTED = (Op.CONV_2D, Op.DEPTHWISE_CONV_2D, Op.TRANSPOSE_CONV, Op.FULLY_CONNECTED)

CHUNK = 8
"""Entries that passes over many take at a time."""

# A run computes as many entries at a time as hide a call, and as few as leave a node's operands in
# the nearer caches. Chosen of 64 KiB to 1 MiB on the four MLPerf Tiny networks, on one Zen 4.
MOST_ENTRIES = 64
CACHE_BYTES = 1 << 18
# Less work than this is left to one thread: starting and waking others was seen to take longer than
# a batch of 0.2 ms. A round figure, not a fitted one.
WORTH_THREADS_S = 2e-3


@dataclass(frozen=True)
class Call:
    """A node of a plan: the names it reads, makes and frees, and how it is computed.

    Args:
        lowered: Returns the step of the reference kernels with its constants.
        inputs: Names it reads.
        outputs: Names it makes.
        dead: Names that no later node reads.
        native: The same step as machine code, where there is any.
    """

    lowered: Callable[[], Lowered]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    dead: tuple[str, ...]
    native: Native | None = None

    @property
    def step(self) -> Step:
        """The step of the reference kernels."""
        return self.lowered().step

    @property
    def constants(self) -> Mapping[str, Array | Scaling | int]:
        """What the node computes with besides activations."""
        return self.lowered().constants


@dataclass(frozen=True)
class Plan:
    """A lowered graph, ready to run on arrays of its own batch size.

    Args:
        graph: What was lowered.
        calls: Kernel calls in execution order.
        constants: Arrays that calls read besides activations.
    """

    graph: Graph
    calls: tuple[Call, ...]
    constants: Mapping[str, Array]

    def run(self, inputs: Mapping[str, Array], *, keep_all: bool = False) -> dict[str, Array]:
        """Return outputs, or every activation if `keep_all`."""
        runner = self._all if keep_all else self._outputs
        return self.reference(inputs, keep_all=keep_all) if runner is None else runner.run(inputs)

    @property
    def program(self) -> Program | None:
        """The machine code that makes the outputs; None where there is none."""
        return None if self._outputs is None else self._outputs.program

    def seconds(self, *, keep_all: bool = False) -> float:
        """Return the shortest time that a run has taken, infinite before the first."""
        runner = self._all if keep_all else self._outputs
        return math.inf if runner is None else runner.seconds

    @cached_property
    def _outputs(self) -> "Runner | None":
        return self._runner(keep_all=False)

    @cached_property
    def _all(self) -> "Runner | None":
        return self._runner(keep_all=True)

    def _runner(self, *, keep_all: bool) -> "Runner | None":
        """Return the program of this plan, or None where nothing in it is machine code."""
        if all(call.native is None for call in self.calls):
            return None
        items = tuple(
            Item(call.inputs, call.outputs, call.native or call.step) for call in self.calls
        )
        return Runner(Program(self.graph, items, self.constants, keep_all))

    def reference(self, inputs: Mapping[str, Array], *, keep_all: bool = False) -> dict[str, Array]:
        """Return what `run` returns, by the reference kernels alone."""
        arrays: dict[str, Array] = {**self.constants, **inputs}
        for call in self.calls:
            made = call.step([arrays[name] for name in call.inputs])
            arrays.update(zip(call.outputs, made, strict=True))
            if not keep_all:
                for name in call.dead:
                    del arrays[name]
        wanted = self.graph.activations if keep_all else self.graph.outputs
        return {value.name: arrays[value.name] for value in wanted}


def lower(graph: Graph, profile: NumericProfile) -> Plan:
    """Return the plan of an integer graph, its accumulators proved.

    Raises:
        GraphError: If an operator has no integer kernel, a value breaks a rule of the profile, or
            an accumulator could overflow.
    """
    _refuse_unkernelled(graph)
    bounds = {bound.node: bound for bound in verify(graph, profile)}
    last = {name: index for index, node in enumerate(graph.nodes) for name in node.inputs}
    calls = []
    for index, node in enumerate(graph.nodes):
        site = Site(graph, node, profile)
        bits = bounds[node.name].bits if node.name in bounds else 0
        try:
            lowered = _lowered_node(site, bits)
            narrow = _is_narrow(site, bits)
            native = None if narrow else native_node(site, lowered.constants, bits)
        except HwsimError as error:
            if str(error).startswith("node "):
                raise
            raise site.fail(str(error)) from error
        inputs = tuple(filter(None, node.inputs))
        dead = tuple(
            name
            for name in dict.fromkeys(inputs)
            if last[name] == index
            and name not in graph.output_names
            and not graph.values[name].is_constant
        )
        # The reference of a native node holds its weights a second time, so it is made when asked.
        again = cache(partial(_lowered_node, site, bits))
        kept = partial(_kept, lowered) if native is None else again
        calls.append(Call(kept, inputs, node.outputs, dead, native))
    arrays = {name: value.data for name, value in graph.values.items() if value.data is not None}
    return Plan(graph, tuple(calls), arrays)


def _lowered_node(site: Site, bits: int) -> Lowered:
    """Return a node on the reference kernels; its accumulator needs `bits`, 0 if it has none."""
    made = KERNELS[site.op](site)
    lowered = made if isinstance(made, Lowered) else Lowered(made, {})
    step = lower_narrow(site) if _is_narrow(site, bits) else lowered.step
    return Lowered(step, MappingProxyType(dict(lowered.constants)))


def _is_narrow(site: Site, bits: int) -> bool:
    """Whether a node's sums may leave the accumulator that the profile gives them."""
    return bits > 0 and bits > site.rule.accumulator_bits


def _kept(lowered: Lowered) -> Lowered:
    return lowered


def _refuse_unkernelled(graph: Graph) -> None:
    if graph.nodes and graph.is_float:
        raise GraphError(
            f"graph {graph.name!r} must hold quantized codes, not floats; quantize it first"
        )
    for node in graph.nodes:
        if node.op not in KERNELS:
            known = ", ".join(op.value for op in KERNELS)
            raise GraphError(
                f"node {node.name!r}: operator of an integer graph must be one of {known}, "
                f"not {node.op.value}"
            )
        _refuse_hybrid(graph, node)


def _refuse_hybrid(graph: Graph, node: Node) -> None:
    """Refuse integer weights on float activations: a runtime quantizes those as it goes."""
    if node.op not in (*WEIGHTED, Op.MATMUL):
        return
    x, weights = (graph.values[name] for name in node.inputs[:2])
    if x.is_float and weights.quant is not None:
        raise GraphError(
            f"node {node.name!r} ({node.op.value}): input must hold integer codes like the "
            f"weights, not {x.dtype}; hybrid operators do not run"
        )


class _Pair:
    """A graph under a profile as a key: equal where both are the same objects."""

    def __init__(self, graph: Graph, profile: NumericProfile) -> None:
        self.graph, self.profile = graph, profile

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Pair):
            return NotImplemented
        return self.graph is other.graph and self.profile is other.profile

    def __hash__(self) -> int:
        return hash((id(self.graph), id(self.profile)))


@lru_cache(maxsize=4)
def _lowered(pair: _Pair, batch: int) -> tuple[Plan, int]:
    """Return the plan for `batch` entries and how many it takes; the last few are kept.

    Graphs and profiles are frozen, so a kept plan cannot go stale. Lowering proves accumulators
    and packs weights, which takes longer than a small network's inference.
    """
    own = own_batch(pair.graph)
    larger = with_batch(pair.graph, batch) if batch > own else None
    return lower(larger or pair.graph, pair.profile), batch if larger else own


@lru_cache(maxsize=4)
def _chunk(pair: _Pair) -> int:
    """Return how many entries to compute at a time."""
    graph = pair.graph
    largest = max((_operand_bytes(graph, node) for node in graph.nodes), default=0)
    return min(MOST_ENTRIES, CACHE_BYTES * own_batch(graph) // max(largest, 1))


def _operand_bytes(graph: Graph, node: Node) -> int:
    """Return the bytes of the activations that a node reads and makes."""
    values = [graph.values[name] for name in (*node.inputs, *node.outputs) if name]
    return sum(
        math.prod(value.shape) * np.dtype(value.dtype.storage).itemsize
        for value in values
        if not value.is_constant
    )


def _shared_out(
    work: Callable[[int], dict[str, Array]], starts: Sequence[int], threads: int
) -> list[dict[str, Array]]:
    """Return the work of every start, each thread taking the next that nobody has taken."""
    made: dict[int, dict[str, Array]] = {}
    turns = iter(starts)  # taking one is a single step of the interpreter

    def take() -> None:
        for start in turns:
            made[start] = work(start)

    with ThreadPoolExecutor(threads) as pool:
        for done in [pool.submit(take) for _ in range(threads)]:
            done.result()
    return [made[start] for start in starts]


def execute(
    graph: Graph,
    profile: NumericProfile,
    inputs: Mapping[str, Array],
    *,
    threads: int = 1,
    keep_all: bool = False,
    progress: Callable[[int], None] | None = None,
) -> dict[str, Array]:
    """Run any whole number of the graph's batches and join the results.

    Entries are computed in chunks that do not see each other, so neither the batch nor the number
    of threads can change a bit.

    Args:
        graph: Integer graph.
        profile: Its arithmetic.
        inputs: One array per graph input, first axes equal and a multiple of the graph's batch.
        threads: Chunks computed at a time.
        keep_all: Return every activation instead of the outputs.
        progress: Called with the entries of each finished chunk.
    """
    own, total = batch_size(graph, inputs)
    pair = _Pair(graph, profile)
    share = -(-total // max(threads, 1))
    plan, size = _lowered(pair, own if total == own else max(own, min(_chunk(pair), share)))
    if total == own == size:
        return plan.run(inputs, keep_all=keep_all)

    def chunk(start: int) -> dict[str, Array]:
        # The last chunk is moved back to be full: its first entries are computed again and cut.
        first = min(start, total - size)
        part = entries(graph, inputs, first, first + size)
        made = plan.run(part, keep_all=keep_all)
        if progress is not None:
            progress(first + size - start)
        if start == first:
            return made
        return {name: array[start - first :] for name, array in made.items()}

    starts = range(0, total, size)
    if threads == 1 or plan.seconds(keep_all=keep_all) * len(starts) < WORTH_THREADS_S:
        parts: Sequence[dict[str, Array]] = [chunk(start) for start in starts]
    else:
        parts = _shared_out(chunk, starts, threads)
    return joined(parts)
