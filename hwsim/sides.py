"""The sides that a comparison can have: a profile, the float engine, a runtime, a recording."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsim.archives import read_arrays
from hwsim.batch import batch_size, own_batch
from hwsim.errors import GraphError, InputError
from hwsim.float_twin import float_twin
from hwsim.floats import run_floats
from hwsim.graph import Graph, Node, Value
from hwsim.inputs import checked_inputs
from hwsim.isolation import isolated
from hwsim.kernels.plan import execute
from hwsim.oracles import RUNTIMES
from hwsim.profile import NumericProfile
from hwsim.profiles import PROFILES, find_profile
from hwsim.quant import IntType, Rounding, dequantize_array, quantize_array
from hwsim.recorded import Recording, as_recorded, runs_of
from hwsim.validation import Arrays, Side

Given = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class ProfileSide:
    """Our integer engine under a profile."""

    graph: Graph
    profile: NumericProfile
    threads: int = 1

    @property
    def label(self) -> str:
        """The profile's name."""
        return self.profile.name

    def values(self, inputs: Given, start: int, runs: int) -> Arrays:
        """Run the inferences."""
        return execute(self.graph, self.profile, inputs, threads=self.threads, keep_all=True)

    def apply(self, node: Node, operands: Given) -> Arrays | None:
        """Run one operator."""
        return execute(isolated(self.graph, node), self.profile, operands, threads=self.threads)


@dataclass(frozen=True)
class FloatSide:
    """The float engine; on an integer graph every value is rounded to its own codes, ties to even.

    Args:
        graph: The graph compared.
        twin: The float graph that is run; `graph` itself where it holds floats.
    """

    graph: Graph
    twin: Graph
    label: str = "float"

    def values(self, inputs: Given, start: int, runs: int) -> Arrays:
        """Run the inferences."""
        reals = {name: as_reals(self.graph.values[name], array) for name, array in inputs.items()}
        made = run_floats(self.twin, reals, keep_all=not self.graph.is_float)
        return self._coded(made)

    def apply(self, node: Node, operands: Given) -> Arrays | None:
        """Run one operator."""
        twin = next(other for other in self.twin.nodes if other.name == node.name)
        reals = {name: as_reals(self.graph.values[name], array) for name, array in operands.items()}
        return self._coded(run_floats(isolated(self.twin, twin), reals))

    def _coded(self, reals: Given) -> Arrays:
        return {
            name: as_codes(self.graph.values[name], array, Rounding.HALF_EVEN)
            for name, array in reals.items()
        }


def as_reals(value: Value, codes: NDArray[Any]) -> NDArray[np.float32]:
    """Return the reals that a value's codes stand for."""
    if value.quant is None:
        return np.asarray(codes, np.float32)
    return dequantize_array(np.asarray(codes, np.int64), value.quant)


def as_codes(value: Value, reals: NDArray[Any], rounding: Rounding) -> NDArray[Any]:
    """Return a value's codes of reals; floats stay what they are."""
    if value.quant is None:
        return reals
    assert isinstance(value.dtype, IntType)
    return quantize_array(np.asarray(reals, np.float32), value.dtype, value.quant, rounding)


@dataclass(frozen=True)
class RuntimeSide:
    """A foreign runtime on the graph's own file; it cannot run an operator alone."""

    graph: Graph
    label: str

    def values(self, inputs: Given, start: int, runs: int) -> Arrays:
        """Run the inferences."""
        computed = [made for node in self.graph.nodes for made in node.outputs]
        made = RUNTIMES[self.label](self.graph, inputs, computed)
        return {name: array for name, array in made.items() if name in self.graph.values}

    def apply(self, node: Node, operands: Given) -> Arrays | None:
        """Return None."""
        return None


@dataclass(frozen=True)
class RecordedSide:
    """A saved trace."""

    graph: Graph
    label: str
    recording: Recording = field(repr=False)

    def values(self, inputs: Given, start: int, runs: int) -> Arrays:
        """Cut the inferences out."""
        computed = {
            name: array
            for name, array in self.recording.values.items()
            if name in self.graph.producer
        }
        return runs_of(self.graph, computed, self.recording.runs, slice(start, start + runs))

    def apply(self, node: Node, operands: Given) -> Arrays | None:
        """Return None."""
        return None


SideName = str | Path | NumericProfile


def side_of(graph: Graph, name: SideName, threads: int = 1) -> Side:
    """Return the side that a user names.

    Args:
        graph: What is compared.
        name: A profile, its name or `.toml` file; "float"; a runtime; or a recording's `.npz`.
        threads: Parts of a batch that our engine computes at a time.

    Raises:
        InputError: If there is no such side, or the recording does not fit the graph.
        GraphError: If the graph is not of the side's kind.
    """
    if isinstance(name, NumericProfile):
        return ProfileSide(_integer(graph), name, threads)
    text = str(name)
    if text == "float":
        return FloatSide(graph, graph if graph.is_float else float_twin(graph))
    if text in RUNTIMES:
        return RuntimeSide(graph, text)
    if Path(text).suffix == ".npz":
        recording = as_recorded(graph, read_arrays(Path(text)), Path(text).name)
        return RecordedSide(graph, text, recording)
    if text in PROFILES or Path(text).suffix == ".toml":
        return ProfileSide(_integer(graph), find_profile(text), threads)
    known = ", ".join((*PROFILES, "float", *RUNTIMES))
    raise InputError(
        f"side must be one of {known}, a profile's .toml or a trace's .npz, not {text!r}"
    )


def _integer(graph: Graph) -> Graph:
    if graph.is_float:
        raise GraphError(
            f"graph {graph.name!r} must hold quantized codes, not floats; quantize it, or ask "
            "for side 'float'"
        )
    return graph


def session_inputs(
    graph: Graph, inputs: Given | NDArray[Any] | None, rounding: Rounding | None,
    sides: tuple[Side, ...],
) -> tuple[Arrays, int, int]:  # fmt: skip
    """Return the inputs that both sides are run on, the inferences, and the inputs' first axis.

    Args:
        graph: What is compared.
        inputs: As a user gives them; None takes those of a recording.
        rounding: How real inputs become codes.
        sides: Both sides; a recording must have been made on these inputs.

    Raises:
        InputError: If no side has the inputs, or a recording was made on others.
    """
    recorded = [side for side in sides if isinstance(side, RecordedSide)]
    if inputs is None:
        found: Arrays = {}
        for side in reversed(recorded):
            found |= _recorded_inputs(graph, side)
        if len(recorded) == len(sides):  # nobody needs to be run
            runs = recorded[0].recording.runs
            _check_recorded(graph, recorded, found, runs)
            return found, runs, runs * own_batch(graph)
        if not found:
            raise InputError("inputs must be given: no side is a trace that holds them")
        inputs = found
    arrays = checked_inputs(graph, inputs, rounding)
    own, total = batch_size(graph, arrays)
    _check_recorded(graph, recorded, arrays, total // own)
    return arrays, total // own, total


def _check_recorded(
    graph: Graph, recorded: Sequence[RecordedSide], arrays: Given, runs: int
) -> None:
    """Refuse recordings of other inputs: their differences would say nothing."""
    for side in recorded:
        if side.recording.runs != runs:
            raise InputError(
                f"{side.label}: trace must hold {runs} inferences like the inputs, "
                f"not {side.recording.runs}"
            )
        for name, array in _recorded_inputs(graph, side).items():
            if not np.array_equal(array, arrays[name]):
                raise InputError(
                    f"{side.label}: trace must be recorded on the inputs compared; its {name!r} "
                    "holds others"
                )


def _recorded_inputs(graph: Graph, side: RecordedSide) -> Arrays:
    return {
        name: side.recording.values[name]
        for name in graph.input_names
        if name in side.recording.values
    }
