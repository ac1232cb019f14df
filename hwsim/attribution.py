"""Where an integer network's error comes from: each operator's own, and what it inherits.

For every value: `total` is the integer network's value against the float network's; `own` is the
operator alone, in integers on the quantized exact inputs, against the float operator on the same
reals; `inherited` is the float operator on the integer network's inputs against the float operator
on exact ones. The three are measured apart: own and inherited need not add up to total.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hwsim.batch import batch_size
from hwsim.errors import GraphError, InputError
from hwsim.float_twin import float_twin
from hwsim.floats import run_floats
from hwsim.graph import Graph, Node
from hwsim.inputs import Arrays, checked_inputs, named_inputs
from hwsim.isolation import computed_inputs, isolated
from hwsim.kernels.plan import execute
from hwsim.partition import partition
from hwsim.profile import NumericProfile
from hwsim.recorded import by_run, runs_of
from hwsim.sides import as_codes, as_reals

if TYPE_CHECKING:
    import pandas as pd

# Elements of all values together that an engine holds at a time, unless one inference has more.
HELD_ELEMENTS = 1 << 22


@dataclass(frozen=True, slots=True)
class Error:
    """How far values lie from their references.

    Args:
        sqnr_db: 10 log10 of summed squares of the reference over those of the error, in dB;
            infinite where there is no error, NaN where the reference is zero throughout.
        cosine: Cosine of the angle between both; NaN where one is zero throughout.
        largest: Largest absolute error, in the value's real unit.
    """

    sqnr_db: float
    cosine: float
    largest: float


@dataclass(frozen=True, slots=True)
class OperatorError:
    """The errors of one operator's output.

    Args:
        value: The output.
        node: The operator's name.
        operator: What it does.
        total: Integer network against float network.
        own: The operator alone.
        inherited: What it makes of the errors in its inputs.
    """

    value: str
    node: str
    operator: str
    total: Error
    own: Error
    inherited: Error


@dataclass(frozen=True, slots=True)
class Attribution:
    """Errors of every operator, in execution order.

    Args:
        profile: The integer arithmetic.
        reference: What the float network is: "float twin" (the same codes as reals), or the name
            of the float graph that was given.
        samples: Inputs run.
        rows: One per value that the float network has too.
        missing: Values that it does not have.
    """

    profile: str
    reference: str
    samples: int
    rows: tuple[OperatorError, ...]
    missing: tuple[str, ...]

    def to_frame(self) -> "pd.DataFrame":
        """Return one line per value."""
        import pandas as pd

        return pd.DataFrame(self.records())

    def records(self) -> list[dict[str, Any]]:
        """Return one flat record per value."""
        return [
            {"value": row.value, "node": row.node, "operator": row.operator}
            | {
                f"{kind}_{name}": number
                for kind in ("total", "own", "inherited")
                for name, number in asdict(getattr(row, kind)).items()
            }
            for row in self.rows
        ]


class _Sums:
    """Sums of one error, kept per inference and added exactly: their order changes nothing."""

    def __init__(self) -> None:
        self.parts: dict[str, list[float]] = {"ref": [], "got": [], "both": [], "error": []}
        self.largest = 0.0

    def add(self, got: NDArray[Any], reference: NDArray[Any], runs: int) -> None:
        ours = by_run(got, runs).astype(np.float64)
        exact = by_run(reference, runs).astype(np.float64)
        error = ours - exact
        for name, product in (
            ("ref", exact * exact), ("got", ours * ours), ("both", ours * exact),
            ("error", error * error),
        ):  # fmt: skip
            self.parts[name] += [float(row.sum()) for row in product]
        self.largest = max(self.largest, float(np.abs(error).max(initial=0.0)))

    def done(self) -> Error:
        ref, got, both, error = (math.fsum(part) for part in self.parts.values())
        sqnr = math.inf if error == 0 else math.nan
        if error > 0 and ref > 0:
            sqnr = 10 * math.log10(ref / error)
        norm = math.sqrt(ref) * math.sqrt(got)
        return Error(sqnr, both / norm if norm > 0 else math.nan, self.largest)


@dataclass(frozen=True)
class _Engines:
    graph: Graph
    profile: NumericProfile
    floats: Graph
    float_nodes: Mapping[str, Node]  # by output value
    threads: int

    def integer_alone(self, node: Node, operands: Mapping[str, NDArray[Any]]) -> Any:
        return execute(isolated(self.graph, node), self.profile, operands, threads=self.threads)

    def float_alone(self, node: Node, operands: Mapping[str, NDArray[Any]]) -> Any:
        return run_floats(isolated(self.floats, node), operands)


def attribute(
    graph: Graph,
    inputs: Arrays,
    profile: NumericProfile,
    reference: Graph | None = None,
    *,
    threads: int = 1,
    progress: Callable[[int], None] | None = None,
) -> Attribution:
    """Return total, own and inherited error of every operator.

    Args:
        graph: An integer graph.
        inputs: As for `run`; floats go to the float network as they are, codes as the reals that
            they stand for.
        profile: The arithmetic.
        reference: The float graph that `graph` was quantized from; its float twin unless given.
            Own errors then hold those of the weights too.
        threads: Parts of a batch that the integer engine computes at a time.
        progress: Called with the number of inputs finished.

    Raises:
        GraphError: If `graph` holds floats, or `reference` does not.
        InputError: If an input does not fit, or the float graph shares no operator.
    """
    if graph.is_float:
        raise GraphError(
            f"graph {graph.name!r} must hold quantized codes, not floats; quantize it first"
        )
    if reference is None:
        floats = float_twin(graph)
    elif reference.is_float:
        floats = partition(reference).graph
    else:
        raise GraphError(f"reference {reference.name!r} must hold floats, not quantized codes")
    engines = _engines(graph, profile, floats, threads)
    given = named_inputs(graph, inputs)
    codes = checked_inputs(graph, inputs, profile.input_rounding)
    reals = {
        value.name: np.asarray(given[value.name], np.float32)
        if given[value.name].dtype.kind == "f"
        else as_reals(value, codes[value.name])
        for value in graph.inputs
    }
    own, total = batch_size(graph, codes)
    sums = {
        name: (_Sums(), _Sums(), _Sums())
        for node in graph.nodes
        for name in node.outputs
        if name in engines.float_nodes
    }
    if not sums:
        raise InputError(
            f"reference {floats.name!r} must have the operators of {graph.name!r} by name; "
            "it shares none"
        )
    elements = sum(value.elements for value in graph.activations)
    batch = max(1, HELD_ELEMENTS // elements)
    for start in range(0, total // own, batch):
        chosen = slice(start, min(start + batch, total // own))
        runs = chosen.stop - chosen.start
        cut = [runs_of(graph, arrays, total // own, chosen) for arrays in (codes, reals)]
        _add_batch(engines, cut[0], cut[1], runs, sums)
        if progress is not None:
            progress(runs * own)
    rows = tuple(
        OperatorError(name, node.name, node.op.value, *(part.done() for part in sums[name]))
        for node in graph.nodes
        for name in node.outputs
        if name in sums
    )
    computed = [name for node in graph.nodes for name in node.outputs]
    missing = tuple(name for name in computed if name not in sums)
    label = "float twin" if reference is None else reference.name
    return Attribution(profile.name, label, total, rows, missing)


def _engines(graph: Graph, profile: NumericProfile, floats: Graph, threads: int) -> _Engines:
    """Return both engines; float nodes count where they read and make the same values."""
    shared = {}
    for node in graph.nodes:
        for name in node.outputs:
            twin = floats.producer.get(name)
            if (
                twin is not None
                and computed_inputs(floats, twin) == computed_inputs(graph, node)
                and floats.values[name].shape == graph.values[name].shape
            ):
                shared[name] = twin
    return _Engines(graph, profile, floats, shared, threads)


def _add_batch(
    engines: _Engines,
    codes: Mapping[str, NDArray[Any]],
    reals: Mapping[str, NDArray[Any]],
    runs: int,
    sums: Mapping[str, tuple[_Sums, _Sums, _Sums]],
) -> None:
    graph = engines.graph
    integers = execute(graph, engines.profile, codes, threads=engines.threads, keep_all=True)
    exact = run_floats(engines.floats, reals, keep_all=True)

    def as_real(name: str, array: NDArray[Any]) -> NDArray[np.float32]:
        return as_reals(graph.values[name], array)

    for node in graph.nodes:
        names = [name for name in node.outputs if name in sums]
        if not names:
            continue
        twin = engines.float_nodes[names[0]]
        operands = computed_inputs(graph, node)
        rounding = engines.profile.input_rounding
        quantized = {n: as_codes(graph.values[n], exact[n], rounding) for n in operands}
        alone = engines.integer_alone(node, quantized)
        alone_float = engines.float_alone(twin, {n: as_real(n, quantized[n]) for n in operands})
        moved = engines.float_alone(twin, {n: as_real(n, integers[n]) for n in operands})
        for name in names:
            total, own, inherited = sums[name]
            total.add(as_real(name, integers[name]), exact[name], runs)
            own.add(as_real(name, alone[name]), alone_float[name], runs)
            inherited.add(moved[name], exact[name], runs)
