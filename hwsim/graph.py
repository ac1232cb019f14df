"""The network as data: values, nodes, and a graph that keeps its own rules."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from hwsim.attributes import Attrs, Shape
from hwsim.errors import GraphError, HwsimError
from hwsim.ops import OPS, Op
from hwsim.quant import DType, FloatType, IntType, QuantParams, fits
from hwsim.shapes import MAX_AXES, MAX_ELEMENTS

MAX_NAME = 1024


@dataclass(frozen=True)
class Value:
    """A tensor of the graph.

    Args:
        name: Unique in the graph; the file's name where there is one.
        shape: Fully stated, NHWC for images.
        dtype: Integer codes of a width, or floats.
        quant: What the codes mean; None for floats and for integers that are no quantized reals.
        data: The codes or floats of a constant, else None.
    """

    name: str
    shape: Shape
    dtype: DType
    quant: QuantParams | None = None
    data: NDArray[np.generic] | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        """Refuse values that no engine could hold."""
        if not self.name:
            raise GraphError("value name must not be empty")
        if len(self.name) > MAX_NAME:
            raise GraphError(
                f"value name must have at most {MAX_NAME} characters, not {len(self.name)}"
            )
        if len(self.shape) > MAX_AXES:
            raise GraphError(
                f"value {self.name!r}: axes must be at most {MAX_AXES}, not {len(self.shape)}"
            )
        if min(self.shape, default=1) < 1:
            raise GraphError(f"value {self.name!r}: every axis must be 1 or more, not {self.shape}")
        if math.prod(self.shape) > MAX_ELEMENTS:
            raise GraphError(
                f"value {self.name!r}: elements must be at most {MAX_ELEMENTS}, "
                f"not {math.prod(self.shape)}"
            )
        self._check_quant()
        self._check_data()

    def _check_quant(self) -> None:
        if self.quant is None:
            return
        if isinstance(self.dtype, FloatType):
            raise GraphError(f"value {self.name!r}: a float must have no quantization parameters")
        for zero_point in self.quant.zero_point:
            if not self.dtype.min <= zero_point <= self.dtype.max:
                raise GraphError(
                    f"value {self.name!r}: zero_point must be in "
                    f"[{self.dtype.min}, {self.dtype.max}], not {zero_point}"
                )
        axis = self.quant.axis
        if axis is None:
            return
        if axis >= len(self.shape):
            raise GraphError(
                f"value {self.name!r}: quantization axis must be below {len(self.shape)}, "
                f"not {axis}"
            )
        if self.shape[axis] != len(self.quant.scale):
            raise GraphError(
                f"value {self.name!r}: scales must be {self.shape[axis]}, one per index of axis "
                f"{axis}, not {len(self.quant.scale)}"
            )

    def _check_data(self) -> None:
        if self.data is None:
            return
        if self.data.shape != self.shape or not fits(self.dtype, self.data.dtype):
            raise GraphError(
                f"value {self.name!r}: data must be {self.dtype.storage} of shape {self.shape}, "
                f"not {self.data.dtype} of shape {self.data.shape}"
            )
        if isinstance(self.dtype, IntType) and self.dtype.bits < 8 * self.data.dtype.itemsize:
            low, high = int(self.data.min()), int(self.data.max())
            if low < self.dtype.min or high > self.dtype.max:
                raise GraphError(
                    f"value {self.name!r}: codes must be in [{self.dtype.min}, {self.dtype.max}], "
                    f"not [{low}, {high}]"
                )
        self.data.setflags(write=False)

    @property
    def is_constant(self) -> bool:
        """Whether the value is part of the model, not of an inference."""
        return self.data is not None

    @property
    def elements(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def is_float(self) -> bool:
        """Whether the value holds reals."""
        return isinstance(self.dtype, FloatType)


@dataclass(frozen=True)
class Node:
    """One operator application; an absent optional input is the empty name."""

    name: str
    op: Op
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attrs: Attrs


@dataclass(frozen=True)
class Origin:
    """The file that a graph was read from.

    Args:
        path: Where it was.
        sha256: Hash of its bytes.
        tensor_ids: Index of each value's tensor in a TFLite file.
        orders: Axis i of a value is axis orders[i] of an ONNX file's tensor; absent where equal.
    """

    path: Path
    sha256: str
    tensor_ids: Mapping[str, int] = field(default_factory=dict, repr=False)
    orders: Mapping[str, tuple[int, ...]] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Graph:
    """A directed acyclic graph of operators, in execution order.

    Args:
        name: For people.
        values: Every tensor by name.
        nodes: In an order in which each input is made before it is read.
        input_names: Values that the caller gives.
        output_names: Values that the caller gets.
        profile: Name of the numeric profile that the graph's format implies, "" for float graphs.
        origin: The file, if there was one.
    """

    name: str
    values: Mapping[str, Value]
    nodes: tuple[Node, ...]
    input_names: tuple[str, ...]
    output_names: tuple[str, ...]
    profile: str = ""
    origin: Origin | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        """Check order, names and every node's shape rule."""
        object.__setattr__(self, "values", MappingProxyType(dict(self.values)))
        for key, value in self.values.items():
            if key != value.name:
                raise GraphError(f"value {value.name!r} must be filed under its name, not {key!r}")
        known = {name for name, value in self.values.items() if value.is_constant}
        for name in self.input_names:
            if name not in self.values:
                raise GraphError(f"graph input {name!r} must be a value of the graph")
            if name in known:
                raise GraphError(f"graph input {name!r} must not be a constant or listed twice")
            known.add(name)
        for node in self.nodes:
            self._check_node(node, known)
        for name in self.output_names:
            if name not in known:
                raise GraphError(f"graph output {name!r} must be made by a node")

    def _check_node(self, node: Node, known: set[str]) -> None:
        spec = OPS[node.op]
        place = f"node {node.name!r} ({node.op.value})"
        if not isinstance(node.attrs, spec.attrs):
            raise GraphError(f"{place}: attributes must be {spec.attrs.__name__}")
        fewest, most = spec.inputs
        if not fewest <= len(node.inputs) <= most:
            raise GraphError(f"{place}: inputs must be {fewest} to {most}, not {len(node.inputs)}")
        for name in filter(None, node.inputs):
            if name not in known:
                raise GraphError(f"{place}: input {name!r} must be made before it is read")
        if "" in node.inputs[:fewest]:
            raise GraphError(f"{place}: the first {fewest} inputs must be present")
        shapes = [self.values[name].shape for name in node.inputs if name]
        try:
            inferred = spec.infer(node.attrs, shapes)
        except HwsimError as error:
            raise GraphError(f"{place}: {error}") from error
        if len(inferred) != len(node.outputs):
            raise GraphError(f"{place}: outputs must be {len(inferred)}, not {len(node.outputs)}")
        for name, shape in zip(node.outputs, inferred, strict=True):
            if name in known:
                raise GraphError(f"{place}: output {name!r} must be made once")
            if name not in self.values:
                raise GraphError(f"{place}: output {name!r} must be a value of the graph")
            if self.values[name].shape != shape:
                raise GraphError(
                    f"{place}: output {name!r} must have shape {shape}, "
                    f"not {self.values[name].shape}"
                )
            known.add(name)

    @cached_property
    def inputs(self) -> tuple[Value, ...]:
        """The values that the caller gives, in the file's order."""
        return tuple(self.values[name] for name in self.input_names)

    @cached_property
    def outputs(self) -> tuple[Value, ...]:
        """The values that the caller gets, in the file's order."""
        return tuple(self.values[name] for name in self.output_names)

    def value_or_none(self, name: str) -> Value | None:
        """Return a value, or None for the empty name of an absent input."""
        return self.values[name] if name else None

    def operands(self, node: Node) -> tuple[Value | None, ...]:
        """Return a node's inputs as values."""
        return tuple(self.value_or_none(name) for name in node.inputs)

    @cached_property
    def producer(self) -> Mapping[str, Node]:
        """The node that makes each value."""
        return MappingProxyType({name: node for node in self.nodes for name in node.outputs})

    @cached_property
    def consumers(self) -> Mapping[str, tuple[Node, ...]]:
        """The nodes that read each value, in execution order."""
        found: dict[str, list[Node]] = {name: [] for name in self.values}
        for node in self.nodes:
            for name in dict.fromkeys(filter(None, node.inputs)):
                found[name].append(node)
        return MappingProxyType({name: tuple(nodes) for name, nodes in found.items()})

    @cached_property
    def activations(self) -> tuple[Value, ...]:
        """Every value that an inference makes, inputs first, in execution order."""
        names = [*self.input_names, *(name for node in self.nodes for name in node.outputs)]
        return tuple(self.values[name] for name in names)

    @cached_property
    def is_float(self) -> bool:
        """Whether no value holds quantized codes."""
        return all(value.quant is None for value in self.values.values())


def rebuild(graph: Graph, nodes: Sequence[Node], values: Iterable[Value]) -> Graph:
    """Return the graph with other nodes and values, dropping what no output needs."""
    by_name = {value.name: value for value in values}
    needed = set(graph.output_names)
    kept: list[Node] = []
    for node in reversed(nodes):
        if needed & set(node.outputs):
            kept.append(node)
            needed |= set(filter(None, node.inputs)) | set(node.outputs)
    needed |= set(graph.input_names)
    return replace(
        graph,
        nodes=tuple(reversed(kept)),
        values={name: value for name, value in by_name.items() if name in needed},
    )
