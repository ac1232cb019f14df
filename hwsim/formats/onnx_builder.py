"""What an ONNX file has become so far, and the little checks that every reader shares."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from hwsim.attributes import (
    Attrs,
    TransposeAttrs,
)
from hwsim.errors import FormatError, GraphError, shown
from hwsim.formats.onnx_schema import attributes_of
from hwsim.graph import Node, Value
from hwsim.layout import SUFFIX
from hwsim.ops import OPS, Op
from hwsim.quant import FLOAT32, DType, IntType, QuantParams
from hwsim.workload import Work

MAX_INTS = 256  # the pieces of a Split; all else needs two for each axis


def _as_float32(name: str, array: NDArray[Any]) -> NDArray[np.float32]:
    if array.dtype.kind != "f":
        raise FormatError(f"operand {shown(name)!r} must be a float, not {array.dtype}")
    with np.errstate(over="ignore"):
        data = np.array(array, np.float32)
    if not np.isfinite(data).all():
        raise FormatError(f"operand {shown(name)!r} must be finite, not NaN or infinite")
    return data


@dataclass(frozen=True, slots=True)
class Kind:
    """What a computed tensor holds: reals, or codes and what they mean."""

    dtype: DType
    quant: QuantParams | None = None


REALS = Kind(FLOAT32)


class Facet(Enum):
    """What a constant behind a QONNX quantizer is read as.

    Each facet is an array of the constant's shape, so that readers which transpose and pack
    constants do the same to all of them: reading a file once per facet gives the codes, scales
    and types of every packed operand without a word about them in the readers.

    * REALS: what the codes stand for, as QONNX computes it.
    * CODES: codes minus zero point.
    * SCALES: the scale of each.
    * TYPES: the declared type of each, as `type_number` writes it.
    """

    REALS = "reals"
    CODES = "codes"
    SCALES = "scales"
    TYPES = "types"


@dataclass
class Builder:
    """What has been read so far.

    Args:
        opset: Version of the default operator set.
        budget: Elements that folding may still make.
        values: Computed tensors, and constants that a node reads as operands.
        constants: Every tensor known before a run.
        aliases: Names that stand for another tensor.
        nodes: Made so far.
        narrow: Types of constants that are narrower than their storage.
        dequantized: The codes behind a computed tensor of reals.
        quantized: Whether an operator on codes was read.
        facet: What constants behind a QONNX quantizer are read as.
    """

    opset: int
    budget: int
    values: dict[str, Value] = field(default_factory=dict)
    constants: dict[str, NDArray[Any]] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    nodes: list[Node] = field(default_factory=list)
    narrow: dict[str, IntType] = field(default_factory=dict)
    dequantized: dict[str, str] = field(default_factory=dict)
    quantized: bool = False
    facet: Facet = Facet.REALS

    def resolve(self, name: str) -> str:
        """Return the tensor that a name stands for."""
        return self.aliases.get(name, name)

    def check_name(self, name: str) -> None:
        """Refuse a tensor of the file whose name is taken, or could be taken for one of ours."""
        if name in self.values or name in self.constants or name in self.aliases:
            raise GraphError(f"tensor {shown(name)!r} must be made once")
        if name.endswith(SUFFIX):
            raise GraphError(f"tensor {shown(name)!r} must not end in {SUFFIX!r}; rename it")

    def add_constant(self, name: str, array: NDArray[Any]) -> None:
        """File a tensor that is known before a run."""
        self.check_name(name)
        self.constants[name] = array

    def spend(self, elements: int) -> None:
        """Count folded elements; raises FormatError when constants grow without end."""
        self.budget -= elements
        if self.budget < 0:
            raise FormatError("constants computed from others must be few; they never end")

    def add_value(self, value: Value) -> None:
        """File a value under its name."""
        if value.name in self.values or value.name in self.constants:
            raise GraphError(f"tensor {shown(value.name)!r} must be made once")
        self.values[value.name] = value

    def attributes(self, node: onnx.NodeProto) -> dict[str, Any]:
        """Return a checked node's attributes as Python values."""
        return attributes_of(node)

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of a tensor."""
        if name in self.values:
            return self.values[name].shape
        return self.constants[name].shape

    def constant(self, names: Sequence[str], slot: int, what: str) -> NDArray[Any]:
        """Return an input that must be known before a run."""
        name = names[slot] if slot < len(names) else ""
        if name not in self.constants:
            raise FormatError(f"input {slot} ({what}) must be a constant")
        return self.constants[name]

    def optional(self, names: Sequence[str], slot: int, what: str) -> NDArray[Any] | None:
        """Return a constant input, or None where it is absent."""
        absent = slot >= len(names) or not names[slot]
        return None if absent else self.constant(names, slot, what)

    def ints(self, names: Sequence[str], slot: int, what: str) -> list[int] | None:
        """Return a constant input of integers (axes, sizes), or None where it is absent."""
        array = self.optional(names, slot, what)
        if array is None:
            return None
        if array.dtype.kind not in "iu" or array.size > MAX_INTS:
            raise FormatError(
                f"input {slot} ({what}) must be at most {MAX_INTS} integers, "
                f"not {array.size} of {array.dtype}"
            )
        return [int(number) for number in array.ravel()]

    def scalar(self, names: Sequence[str], slot: int, what: str) -> float | None:
        """Return a constant input of one number, or None where it is absent."""
        array = self.optional(names, slot, what)
        if array is None:
            return None
        if array.size != 1 or np.isnan(array).any():
            raise FormatError(f"input {slot} ({what}) must be one number")
        return float(array.ravel()[0])

    def operand(self, name: str) -> str:
        """Return the name of a graph value, filing a float constant as one."""
        if name not in self.values:
            self._file(name, self.constants[name])
        return name

    def literal(self, name: str, array: NDArray[Any]) -> str:
        """File a constant made of others; return its name, with a mark where that is taken."""
        array = _as_float32(name, array)
        while name in self.constants or not self._holds(name, array):
            name += "'"
        if name not in self.values:
            self._file(name, array)
        return name

    def _holds(self, name: str, array: NDArray[Any]) -> bool:
        """Whether a name is free, or stands for that very constant."""
        found = self.values.get(name)
        return found is None or (found.data is not None and np.array_equal(found.data, array))

    def _file(self, name: str, array: NDArray[Any]) -> None:
        data = _as_float32(name, array)
        self.values[name] = Value(name, data.shape, FLOAT32, data=data)

    def emit(
        self,
        op: Op,
        attrs: Attrs,
        inputs: Sequence[str],
        outputs: Sequence[str],
        kinds: Sequence[Kind] | None = None,
    ) -> None:
        """Append a node; its outputs' shapes follow from the operator's rule.

        Outputs hold reals unless `kinds` says otherwise, or the operator only moves codes.
        """
        shapes = OPS[op].infer(attrs, [self.shape(name) for name in inputs if name])
        if len(shapes) != len(outputs):
            raise GraphError(f"outputs must be {len(shapes)}, not {len(outputs)}")
        if kinds is None:
            kinds = [self._kind_of(op, inputs)] * len(outputs)
        for name, shape, kind in zip(outputs, shapes, kinds, strict=True):
            self.add_value(Value(name, shape, kind.dtype, kind.quant))
        self.nodes.append(Node(outputs[0], op, tuple(inputs), tuple(outputs), attrs))

    def _kind_of(self, op: Op, inputs: Sequence[str]) -> Kind:
        if op is Op.GATHER:
            inputs = inputs[:1]  # the indices are no codes
        coded = [name for name in inputs if name in self.values and not self.values[name].is_float]
        if not coded:
            return REALS
        if (OPS[op].work is not Work.MOVE and op is not Op.MAX_POOL_2D) or coded != list(inputs):
            raise FormatError(
                f"input {shown(coded[0])!r} must hold reals, not codes of "
                f"{self.values[coded[0]].dtype}; DequantizeLinear makes them"
            )
        kinds = [Kind(self.values[name].dtype, self.values[name].quant) for name in coded]
        if kinds.count(kinds[0]) != len(kinds):
            raise FormatError("inputs must be codes of one type, scale and zero point")
        return kinds[0]

    def retitle(self, old: str, new: str) -> None:
        """Give a computed value that the file does not know the name of a tensor that it does."""
        self.values[new] = replace(self.values.pop(old), name=new)
        for index in reversed(range(len(self.nodes))):
            node = self.nodes[index]
            inputs = tuple(new if name == old else name for name in node.inputs)
            outputs = tuple(new if name == old else name for name in node.outputs)
            title = new if node.name == old else node.name
            self.nodes[index] = replace(node, name=title, inputs=inputs, outputs=outputs)
            if new in outputs:
                return

    def rename(self, made: str, name: str) -> None:
        """Make a value under a second name; `hwsim.layout` takes the transpose away again."""
        attrs = TransposeAttrs(tuple(range(len(self.shape(made)))))
        self.emit(Op.TRANSPOSE, attrs, (made,), (name,))

    def to_nhwc(self, name: str) -> str:
        """Return the channels-last view of a tensor (N, C, ...)."""
        view = f"{name}{SUFFIX}"
        if view not in self.values:
            rank = len(self.shape(name))
            perm = (0, *range(2, rank), 1)
            self.emit(Op.TRANSPOSE, TransposeAttrs(perm), (self.operand(name),), (view,))
        return view

    def from_nhwc(self, view: str, name: str) -> None:
        """Name the channels-first view of a tensor (N, ..., C)."""
        rank = len(self.shape(view))
        perm = (0, rank - 1, *range(1, rank - 1))
        self.emit(Op.TRANSPOSE, TransposeAttrs(perm), (view,), (name,))


Names = Sequence[str]
Reader = Callable[[Builder, onnx.NodeProto, Names], None]


def check_axis(axis: int, rank: int) -> None:
    """Refuse an axis that a tensor does not have."""
    if not -rank <= axis < rank:
        raise FormatError(f"axis must be in [{-rank}, {rank - 1}], not {axis}")


def axes_of(b: Builder, node: onnx.NodeProto, names: Names, slot: int) -> tuple[int, ...] | None:
    """Return axes from an attribute (old opsets) or a constant input (new ones)."""
    attribute = b.attributes(node).get("axes")
    given = b.ints(names, slot, "axes")
    chosen = attribute if given is None else given
    return None if chosen is None else tuple(chosen)
