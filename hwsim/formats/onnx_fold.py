"""Constant folding of the shape-computing glue that exporters leave in ONNX graphs.

Each node is evaluated by onnx's own reference implementation; results are bounded before they are
made.
"""

import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper
from onnx.reference import ReferenceEvaluator

from hwsim.errors import FormatError, shown
from hwsim.formats.onnx_schema import array_of, attributes_of
from hwsim.shapes import MAX_AXES, broadcast_shape

MAX_FOLDED = 1 << 26

# Operators that compute shapes, indices and small constants; weights pass through a few of them.
FOLDABLE = frozenset(
    """
    Abs Add And Cast CastLike Ceil Concat ConstantOfShape Div Equal Expand Flatten Floor Gather
    Greater GreaterOrEqual Identity Less LessOrEqual Max Min Mod Mul Neg Not Or Pow Range
    ReduceMax ReduceMin ReduceProd ReduceSum Reshape Shape Size Slice Split Sqrt Squeeze Sub Tile
    Transpose Trilu Unsqueeze Where
    """.split()
)

_BROADCAST = frozenset(
    """
    Add And Div Equal Greater GreaterOrEqual Less LessOrEqual Max Min Mod Mul Or Pow Sub Where
    """.split()
)


def constant_of(node: onnx.NodeProto) -> NDArray[Any]:
    """Return the tensor of a Constant node."""
    for attribute in node.attribute:
        if attribute.name == "value":
            return array_of(attribute.t, "attribute 'value'")
        if attribute.name in ("value_float", "value_int", "value_floats", "value_ints"):
            kind = np.float32 if "float" in attribute.name else np.int64
            return np.array(helper.get_attribute_value(attribute), kind)
    raise FormatError("Constant must hold a numeric tensor")


def fold(
    node: onnx.NodeProto, operands: Sequence[NDArray[Any] | None], opset: int
) -> list[NDArray[Any]]:
    """Return the outputs of a checked node whose inputs are all constants; None is absent.

    Raises:
        FormatError: If the node would make more than 2**26 elements, or cannot be evaluated.
    """
    size = folded_size(node, operands)
    if size > MAX_FOLDED:
        raise FormatError(f"constant must hold at most {MAX_FOLDED} elements, not {size}")
    for attribute in node.attribute:
        if attribute.HasField("t"):
            array_of(attribute.t, f"attribute {attribute.name!r}")
    model, feeds = _lone(node, operands, opset)
    try:
        # Division by zero and overflow make numbers that whoever uses them refuses.
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            made = [np.asarray(array) for array in ReferenceEvaluator(model).run(None, feeds)]
    except Exception as error:  # the evaluator raises whatever NumPy does on a broken node
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise FormatError(f"constant must be computable; {shown(reason)}") from error
    for array in made:
        if array.dtype.kind not in "fiub" or array.ndim > MAX_AXES:
            raise FormatError(
                f"constant must hold numbers on at most {MAX_AXES} axes, "
                f"not {array.dtype} on {array.ndim}"
            )
    return made


def _lone(
    node: onnx.NodeProto, operands: Sequence[NDArray[Any] | None], opset: int
) -> tuple[onnx.ModelProto, dict[str, NDArray[Any]]]:
    """Return the model of one node, and what to feed it."""
    names = [f"i{index}" if array is not None else "" for index, array in enumerate(operands)]
    feeds = {name: array for name, array in zip(names, operands, strict=True) if array is not None}
    outputs = [name or f"unused{index}" for index, name in enumerate(node.output)]
    lone = helper.make_node(node.op_type, names, outputs)
    lone.attribute.extend(node.attribute)
    inputs = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), None)
        for name, array in feeds.items()
    ]
    results = [helper.make_value_info(name, onnx.TypeProto()) for name in outputs]
    graph = helper.make_graph([lone], "fold", inputs, results)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)]), feeds


def folded_size(node: onnx.NodeProto, operands: Sequence[NDArray[Any] | None]) -> int:
    """Return how many elements a node would make at most, from its operands alone."""
    given = [array for array in operands if array is not None]
    if not given:
        return 0
    first, kind = given[0], node.op_type
    if kind == "ConstantOfShape":
        return math.prod(_sizes(first))
    if kind == "Expand":
        return math.prod(broadcast_shape(first.shape, _sizes(given[1])))
    if kind == "Tile":
        return first.size * math.prod(_sizes(given[1]))
    if kind == "Range":
        return _range_size(given)
    if kind == "Concat":
        return sum(array.size for array in given)
    if kind == "Gather":
        axis = int(attributes_of(node).get("axis", 0))
        along = first.shape[axis] if -first.ndim <= axis < first.ndim else 1
        return given[1].size * first.size // max(along, 1)
    if kind in _BROADCAST:
        shape: tuple[int, ...] = ()
        for array in given:
            shape = broadcast_shape(shape, array.shape)
        return math.prod(shape)
    return first.size


def _sizes(array: NDArray[Any]) -> tuple[int, ...]:
    """Return a shape operand."""
    if array.dtype.kind not in "iu" or array.size > MAX_AXES:
        raise FormatError(
            f"shape must be at most {MAX_AXES} integers, not {array.size} of {array.dtype}"
        )
    return tuple(max(int(size), 0) for size in array.ravel())


def _range_size(given: Sequence[NDArray[Any]]) -> int:
    numbers = [array.item() if array.size == 1 else math.nan for array in given]
    if not all(math.isfinite(number) for number in numbers) or numbers[2] == 0:
        raise FormatError("start, limit and delta must be finite numbers, delta not 0")
    start, limit, delta = numbers
    steps = (limit - start) / delta
    return max(math.ceil(steps), 0) if abs(steps) <= MAX_FOLDED else MAX_FOLDED + 1
