"""Constant folding of the shape-computing glue that exporters leave in ONNX graphs.

Each node is evaluated by onnx's own reference implementation; results are bounded before they are
made.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from hwsim.errors import FormatError

MAX_FOLDED = 1 << 26

# Operators that compute shapes, indices and small constants; weights pass through a few of them.
FOLDABLE = frozenset(
    """
    Abs Add And Cast CastLike Ceil Concat ConstantOfShape Div Equal Expand Flatten Floor Gather
    Greater GreaterOrEqual Identity Less LessOrEqual Max Min Mod Mul Neg Not Or Pow Range
    ReduceMax ReduceMin ReduceProd ReduceSum Reshape Shape Size Slice Split Sqrt Squeeze Sub Tile
    Transpose Unsqueeze Where
    """.split()
)

Constants = Mapping[str, NDArray[Any]]


def constant_of(node: onnx.NodeProto) -> NDArray[Any]:
    """Return the tensor of a Constant node."""
    for attribute in node.attribute:
        if attribute.name == "value":
            return numpy_helper.to_array(attribute.t)
        if attribute.name in ("value_float", "value_int", "value_floats", "value_ints"):
            kind = np.float32 if "float" in attribute.name else np.int64
            return np.array(helper.get_attribute_value(attribute), kind)
    raise FormatError("Constant must hold a numeric tensor")


def fold(
    node: onnx.NodeProto, operands: Sequence[NDArray[Any] | None], opset: int
) -> list[NDArray[Any]]:
    """Return the outputs of a node whose inputs are all constants; None is an absent input.

    Raises:
        FormatError: If the node would make more than 2**26 elements, or cannot be evaluated.
    """
    _refuse_bombs(node, operands)
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
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    try:
        made = ReferenceEvaluator(model).run(None, feeds)
    except Exception as error:  # the evaluator raises whatever NumPy does on a broken node
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise FormatError(f"constant must be computable; {reason}") from error
    return [np.asarray(array) for array in made]


def _refuse_bombs(node: onnx.NodeProto, operands: Sequence[NDArray[Any] | None]) -> None:
    sizes = [array.size for array in operands if array is not None]
    first = operands[0] if operands else None
    product = max(sizes, default=0)
    if node.op_type == "ConstantOfShape" and first is not None:
        product = math.prod(abs(int(size)) for size in first.ravel())
    elif node.op_type in ("Expand", "Tile") and len(operands) > 1 and operands[1] is not None:
        factors = [max(abs(int(size)), 1) for size in operands[1].ravel()]
        product = math.prod(factors) * (sizes[0] if sizes else 1)
        if node.op_type == "Expand":
            product = max(math.prod(factors), sizes[0] if sizes else 1)
    elif node.op_type == "Range" and all(array is not None for array in operands):
        start, limit, step = (float(array.ravel()[0]) for array in operands if array is not None)
        product = abs(int((limit - start) / step)) if step else 0
    elif len(sizes) > 1:
        # Broadcasting multiplies at most.
        product = sum(sizes) if node.op_type == "Concat" else math.prod(max(s, 1) for s in sizes)
        if node.op_type in ("Reshape", "Transpose", "Slice", "Gather", "Squeeze", "Unsqueeze",
                            "Split", "CastLike"):  # fmt: skip
            product = max(sizes)
        if node.op_type == "Gather" and first is not None and operands[1] is not None:
            product = first.size * max(operands[1].size, 1)
            product = min(product, max(first.size, operands[1].size * max(first.shape or (1,))))
    if product > MAX_FOLDED:
        raise FormatError(f"constant must hold at most {MAX_FOLDED} elements, not {product}")
