"""Small ONNX models, every reader among them: the float engine equals onnxruntime.

Each model runs at batch 1 and batch 3, so that the change of batch is tested with the reader.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx.helper import make_node as node
from onnx.reference import ReferenceEvaluator

import hwsim
from hwsim.errors import FormatError
from hwsim.formats.onnx import read_onnx
from hwsim.formats.onnx_ops import READERS
from tests.onnx_writer import model

TOLERANCE = 1e-5  # of the largest output: sums of floats have no exact order
RNG = np.random.default_rng(0)


def floats(*shape: int) -> NDArray[np.float32]:
    return RNG.normal(size=shape).astype(np.float32)


def ints(*numbers: int) -> NDArray[np.int64]:
    return np.array(numbers, np.int64)


@dataclass(frozen=True)
class Case:
    """Nodes from `x` (and others) to `y`; `batches` are those that the graph can take."""

    name: str
    nodes: Sequence[onnx.NodeProto]
    shapes: Mapping[str, Sequence[int]]
    constants: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    opset: int = 17
    outputs: Sequence[str] = ("y",)
    batches: Sequence[int] = (1, 3)
    positive: bool = False

    def build(self) -> onnx.ModelProto:
        return model(
            self.nodes, self.shapes, self.constants, outputs=self.outputs, opset=self.opset
        )


IMAGE = {"x": (4, 7, 6)}
ROWS = {"x": (5, 8)}


def one(name: str, operator: str, shape: Sequence[int], *rest: Any, **attributes: Any) -> Case:
    """Return a case of one node whose further inputs are constants."""
    opset = attributes.pop("opset", 17)
    positive = attributes.pop("positive", False)
    constants = {f"c{i}": array for i, array in enumerate(rest) if array is not None}
    names = [f"c{i}" if array is not None else "" for i, array in enumerate(rest)]
    made = node(operator, ["x", *names], ["y"], **attributes)
    return Case(name, [made], {"x": shape}, constants, opset, positive=positive)


def conv(name: str, weights: tuple[int, ...], *, opset: int = 17, **attributes: Any) -> Case:
    return one(
        name, "Conv", (4, 7, 6), floats(*weights), floats(weights[0]), opset=opset, **attributes
    )


WINDOWS = [
    conv("conv pads on all sides", (6, 4, 3, 2), pads=[1, 0, 2, 1]),
    conv("conv dilated and strided", (6, 4, 3, 2), dilations=[2, 3], strides=[2, 1]),
    conv("conv padded beyond its window", (2, 4, 1, 1), pads=[1, 2, 1, 0]),
    conv("conv SAME_UPPER", (6, 4, 2, 3), auto_pad="SAME_UPPER", strides=[2, 2], opset=11),
    conv("conv SAME_LOWER", (6, 4, 2, 3), auto_pad="SAME_LOWER", strides=[2, 2]),
    conv("conv VALID", (6, 4, 3, 3), auto_pad="VALID", kernel_shape=[3, 3]),
    conv("conv in groups", (6, 2, 3, 3), group=2),
    conv("conv depthwise", (4, 1, 3, 3), group=4, pads=[1, 1, 1, 1]),
    conv("conv depthwise, two to one", (8, 1, 3, 3), group=4),
    one("conv without bias", "Conv", (4, 7, 6), floats(3, 4, 2, 2)),
    one("max pool", "MaxPool", (4, 7, 6), kernel_shape=[3, 2], strides=[2, 1], pads=[1, 0, 1, 1]),
    one("max pool SAME_LOWER", "MaxPool", (4, 7, 6), kernel_shape=[2, 2], auto_pad="SAME_LOWER"),
    one("average pool", "AveragePool", (4, 7, 6), kernel_shape=[3, 3], pads=[1, 1, 0, 1]),
    one(
        "average pool counts padding", "AveragePool", (4, 7, 6),
        kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1,
    ),
    one(
        "average pool, even ceiling", "AveragePool", (4, 7, 6),
        kernel_shape=[3, 2], strides=[2, 2], ceil_mode=1, opset=11,
    ),
    one("global average pool", "GlobalAveragePool", (4, 7, 6)),
    one(
        "batch norm of images", "BatchNormalization", (4, 7, 6),
        floats(4), floats(4), floats(4), abs(floats(4)) + 0.5, epsilon=1e-3,
    ),
    one(
        "batch norm of rows", "BatchNormalization", (8,),
        floats(8), floats(8), floats(8), abs(floats(8)) + 0.5,
    ),
]  # fmt: skip

POINTWISE = [
    one("relu", "Relu", (5, 8)),
    one("sigmoid", "Sigmoid", (5, 8)),
    one("tanh", "Tanh", (5, 8)),
    one("erf", "Erf", (5, 8)),
    one("sqrt", "Sqrt", (5, 8), positive=True),
    one("hard swish", "HardSwish", (5, 8)),
    one("leaky relu", "LeakyRelu", (5, 8), alpha=0.3),
    one("gelu", "Gelu", (5, 8), opset=20),
    one("gelu by tanh", "Gelu", (5, 8), approximate="tanh", opset=20),
    one("clip by inputs", "Clip", (5, 8), np.float32(-0.5), np.float32(0.7)),
    one("clip from below alone", "Clip", (5, 8), np.float32(-0.5)),
    one("clip from above alone", "Clip", (5, 8), None, np.float32(0.2)),
    one("clip to 0 and 6", "Clip", (5, 8), np.float32(0), np.float32(6)),
    one("clip by attributes", "Clip", (5, 8), min=-0.1, max=0.4, opset=7),
    one("power of a constant", "Pow", (5, 8), np.float32(2)),
    one("division by a row", "Div", (5, 8), abs(floats(8)) + 1),
    one("subtraction broadcast over the middle", "Sub", (5, 8), floats(1, 1, 8)),
    one("dropout", "Dropout", (5, 8), opset=13),
    one("identity", "Identity", (5, 8)),
    one("cast to float", "Cast", (5, 8), to=onnx.TensorProto.FLOAT),
    one("expand to its own shape", "Expand", (5, 8), ints(1, 1, 8)),
    Case("a constant first", [node("Sub", ["c", "x"], ["y"])], ROWS, {"c": floats(5, 1)}),
    Case(
        "two inputs multiplied", [node("Mul", ["x", "z"], ["y"])], {"x": (5, 8), "z": (1, 8)}
    ),
    one("softmax over the last axis", "Softmax", (5, 8)),
    one("softmax over the middle", "Softmax", (5, 8), axis=1),
    one("softmax of old", "Softmax", (8,), axis=1, opset=11),
    one("layer norm", "LayerNormalization", (5, 8), floats(8), floats(8), epsilon=1e-3),
    one("layer norm without bias", "LayerNormalization", (5, 8), floats(8)),
    one("rms norm", "RMSNormalization", (5, 8), floats(8), epsilon=1e-3, opset=23),
    one("reciprocal", "Reciprocal", (5, 8), positive=True),
    Case("a where hides what softmax must not see", [
        node("Where", ["hidden", "low", "x"], ["a"]), node("Softmax", ["a"], ["y"]),
    ], ROWS, {"hidden": np.triu(np.ones((5, 8), np.bool_), 4), "low": np.float32(-3e38)}),
]  # fmt: skip

PRODUCTS = [
    one("gemm", "Gemm", (8,), floats(8, 3), floats(3)),
    one("gemm transposed and scaled", "Gemm", (8,), floats(3, 8), floats(1, 3),
        transB=1, alpha=0.5, beta=2.0),
    one("gemm with one bias for all", "Gemm", (8,), floats(8, 3), np.float32(0.7)),
    one("matmul by a matrix", "MatMul", (5, 8), floats(8, 3)),
    one("matmul by a stack", "MatMul", (2, 5, 8), floats(2, 8, 3)),
    one("matmul by a stack that grows it", "MatMul", (5, 8), floats(1, 8, 3)),
    Case("matmul of two inputs", [node("MatMul", ["x", "z"], ["y"])],
         {"x": (2, 5, 8), "z": (2, 8, 3)}),
    Case("matmul of two inputs, broadcast", [node("MatMul", ["x", "z"], ["y"])],
         {"x": (2, 5, 8), "z": (1, 8, 3)}),
    Case("one matrix, used twice and scaled", [
        node("Gemm", ["x", "w", ""], ["a"], alpha=2.0),
        node("MatMul", ["x", "w"], ["b"]),
        node("Add", ["a", "b"], ["y"]),
    ], {"x": (8,)}, {"w": floats(8, 8)}),
    Case("names like those that the reader makes", [
        node("Gemm", ["x", "a/weights"], ["a"], alpha=2.0),
        node("MatMul", ["a", "a/weights"], ["b"]),
        node("Mul", ["b", "a/bias"], ["y"]),
    ], {"x": (8,)}, {"a/weights": floats(8, 8), "a/bias": floats(8)}),
    Case("weights for a depthwise conv and a full one", [
        node("Conv", ["x", "w"], ["a"], group=4),
        node("Slice", ["a", "zero", "one", "one"], ["b"]),
        node("Conv", ["b", "w"], ["y"]),
    ], IMAGE, {"w": floats(4, 1, 3, 3), "zero": ints(0), "one": ints(1)}),
]  # fmt: skip

MOVES = [
    one("reshape with 0 and -1", "Reshape", (5, 8), ints(0, -1, 4)),
    one("flatten", "Flatten", (5, 8)),
    one("flatten at axis 2", "Flatten", (5, 8), axis=-1),
    one("squeeze", "Squeeze", (1, 8), ints(1)),
    one("squeeze of old", "Squeeze", (1, 8), axes=[1], opset=11),
    one("unsqueeze", "Unsqueeze", (5, 8), ints(-1, 1)),
    one("unsqueeze of old", "Unsqueeze", (5, 8), axes=[2], opset=11),
    one("transpose", "Transpose", (4, 7, 6), perm=[0, 3, 1, 2]),
    Case("transpose of the batch", [node("Transpose", ["x"], ["y"], perm=[1, 0, 2])], ROWS,
         batches=(1,)),
    one("slice backwards", "Slice", (5, 8), ints(-1, 7), ints(-9, 1), ints(1, 2), ints(-1, -2)),
    one("slice beyond the end", "Slice", (5, 8), ints(1), ints(1 << 40), ints(-1), ints(3)),
    one("slice of old", "Slice", (5, 8), starts=[1, -3], ends=[4, 8], axes=[1, 2], opset=9),
    one("gather one", "Gather", (5, 8), np.int64(-2), axis=1),
    one("gather a range", "Gather", (5, 8), ints(2, 3, 4), axis=2),
    one("pad", "Pad", (5, 8), ints(0, 1, 0, 0, 2, 3), np.float32(1.5)),
    one("pad some axes", "Pad", (5, 8), ints(1, 2), None, ints(-1), opset=18),
    one("pad of old", "Pad", (5, 8), pads=[0, 1, 0, 0, 2, 3], value=-1.0, opset=7),
    one("mean over an attribute's axes", "ReduceMean", (4, 7, 6), axes=[-1, 1], keepdims=0),
    one("mean over an input's axes", "ReduceMean", (4, 7, 6), ints(2, 3), opset=18),
    one("mean over no axes", "ReduceMean", (5, 8), noop_with_empty_axes=1, opset=18),
    Case("concat with a constant", [node("Concat", ["x", "c", "x"], ["y"], axis=2)], ROWS,
         {"c": floats(1, 5, 2)}, batches=(1,)),
    Case("split evenly", [
        node("Split", ["x"], ["a", "b"], axis=2), node("Sub", ["b", "a"], ["y"]),
    ], ROWS),
    Case("split by input", [
        node("Split", ["x", "sizes"], ["a", "b"], axis=1), node("Concat", ["b", "a"], ["y"], axis=1)
    ], ROWS, {"sizes": ints(2, 3)}),
    Case("split of old", [
        node("Split", ["x"], ["a", "b"], axis=-1, split=[3, 5]),
        node("Concat", ["b", "a"], ["y"], axis=2),
    ], ROWS, opset=11),
    Case("split unevenly", [
        node("Split", ["x"], ["a", "b"], axis=1, num_outputs=2),
        node("Concat", ["b", "a"], ["y"], axis=1),
    ], ROWS, opset=18),
    Case("two outputs", [node("Relu", ["x"], ["y"]), node("Neg", ["c"], ["d"]),
                         node("Mul", ["y", "d"], ["z"])],
         ROWS, {"c": floats(8)}, outputs=("z", "y")),
    Case("mean of everything", [node("ReduceMean", ["x"], ["y"], keepdims=0)], ROWS, batches=(1,)),
]  # fmt: skip

CHAINS = [
    Case("a shape is computed", [
        node("Shape", ["x"], ["shape"]),
        node("Gather", ["shape", "zero"], ["batch"]),
        node("Unsqueeze", ["batch", "first"], ["batch1"]),
        node("Concat", ["batch1", "rest"], ["target"], axis=0),
        node("Reshape", ["x", "target"], ["y"]),
    ], ROWS, {"zero": np.int64(0), "first": ints(0), "rest": ints(4, -1)}, batches=(1,)),
    Case("transposes sink through a branch", [
        node("Conv", ["x", "w"], ["a"], pads=[1, 1, 1, 1]),
        node("Add", ["a", "c"], ["b"]),
        node("Concat", ["b", "a"], ["d"], axis=1),
        node("Split", ["d"], ["e", "f"], axis=1, num_outputs=2),
        node("Pad", ["e", "pads"], ["g"]),
        node("Pad", ["f", "pads"], ["h"]),
        node("Mul", ["g", "h"], ["i"]),
        node("Slice", ["i", "from", "to", "axes"], ["j"]),
        node("ReduceMean", ["j", "mean"], ["y"], keepdims=0),
    ], IMAGE, {
        "w": floats(4, 4, 3, 3), "c": floats(4, 1, 1), "pads": ints(0, 0, 1, 2, 0, 1, 0, 1),
        "from": ints(1), "to": ints(8), "axes": ints(2), "mean": ints(3),
    }, opset=18),
    Case("a transpose meets a value without one", [
        node("Conv", ["x", "w"], ["a"], pads=[1, 1, 1, 1]),
        node("Add", ["a", "x"], ["b"]),
        node("Transpose", ["b"], ["t"], perm=[0, 2, 3, 1]),
        node("Softmax", ["t"], ["s"]),
        node("Transpose", ["s"], ["u"], perm=[0, 3, 1, 2]),
        node("MaxPool", ["u"], ["p"], kernel_shape=[2, 2]),
        node("Flatten", ["p"], ["q"]),
        node("Gemm", ["q", "g"], ["y"]),
    ], IMAGE, {"w": floats(4, 4, 3, 3), "g": floats(120, 3)}),
    Case("constants are joined for one node and added by another", [
        node("Concat", ["x", "c"], ["a"], axis=1),
        node("Reshape", ["a", "shape"], ["b"]),
        node("Add", ["b", "c"], ["y"]),
    ], {"x": (8,)}, {"c": floats(1, 4), "shape": ints(0, 3, 4)}, batches=(1,)),
]  # fmt: skip

HIDDEN = ~np.tri(5, 8, 3, dtype=bool)
MASKS = [
    Case("keys hidden by infinity", [
        node("Where", ["hidden", "infinity", "x"], ["a"]), node("Softmax", ["a"], ["y"]),
    ], ROWS, {"hidden": HIDDEN, "infinity": np.float32(-np.inf)}),
    Case("keys kept where a condition holds", [
        node("Where", ["seen", "x", "least"], ["a"]), node("Softmax", ["a"], ["y"]),
    ], ROWS, {"seen": ~HIDDEN, "least": np.array([np.finfo(np.float32).min], np.float32)}),
    Case("an infinite mask is added", [
        node("Add", ["mask", "x"], ["a"]), node("Softmax", ["a"], ["y"]),
    ], ROWS, {"mask": np.where(HIDDEN, -np.inf, 0).astype(np.float32)}),
    Case("a mask computed from shapes", [
        node("Trilu", ["ones", "k"], ["seen"], upper=0),
        node("Cast", ["seen"], ["kept"], to=onnx.TensorProto.BOOL),
        node("Where", ["kept", "x", "infinity"], ["a"]), node("Softmax", ["a"], ["y"]),
    ], ROWS, {"ones": np.ones((5, 8), np.float32), "k": np.int64(3),
              "infinity": np.float32(-np.inf)}),
    one("reciprocal", "Reciprocal", (5, 8), positive=True),
    one("RMS norm", "RMSNormalization", (5, 8), floats(8), epsilon=1e-3, opset=23),
    Case("RMS norm by hand", [
        node("Pow", ["x", "two"], ["a"]), node("ReduceMean", ["a"], ["b"], axes=[-1]),
        node("Add", ["b", "epsilon"], ["c"]), node("Sqrt", ["c"], ["d"]),
        node("Reciprocal", ["d"], ["e"]), node("Mul", ["x", "e"], ["f"]),
        node("Mul", ["f", "gamma"], ["y"]),
    ], ROWS, {"two": np.float32(2), "epsilon": np.float32(1e-5), "gamma": floats(8)}),
]  # fmt: skip

CASES = [*MASKS, *WINDOWS, *POINTWISE, *PRODUCTS, *MOVES, *CHAINS]


def expected(made: onnx.ModelProto, feeds: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
    """Return what onnxruntime makes of a model, or onnx's reference where it lacks an operator."""
    runtime = pytest.importorskip(
        "onnxruntime", reason=f"onnxruntime is missing: {len(CASES)} reader cases need it"
    )
    try:
        session = runtime.InferenceSession(
            made.SerializeToString(), providers=["CPUExecutionProvider"]
        )
    except Exception as error:
        if "NOT_IMPLEMENTED" not in str(error):
            raise
        return [np.asarray(array) for array in ReferenceEvaluator(made).run(None, dict(feeds))]
    return [np.asarray(array) for array in session.run(None, dict(feeds))]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_reader_equals_onnxruntime(case: Case) -> None:
    made = case.build()
    graph = read_onnx(made.SerializeToString(), Path("small.onnx"))
    assert [value.name for value in graph.outputs] == list(case.outputs)
    for batch in case.batches:
        feeds = {name: floats(batch, *shape) for name, shape in case.shapes.items()}
        if case.positive:
            feeds = {name: abs(array) for name, array in feeds.items()}
        ours = hwsim.run(graph, feeds, profile="float")
        for name, theirs in zip(case.outputs, expected(made, feeds), strict=True):
            assert ours[name].shape == theirs.shape
            assert np.abs(ours[name] - theirs).max() <= TOLERANCE * np.abs(theirs).max()


def test_every_reader_has_a_case() -> None:
    assert set(READERS) == {made.op_type for case in CASES for made in case.nodes} & set(READERS)


def embedding(kind: int, nodes: Sequence[onnx.NodeProto] = ()) -> onnx.ModelProto:
    """Return a model that looks 4-vectors up in a table of 7."""
    made = model(
        [node("Gather", ["table", "x"], ["y"]), *nodes], {"x": (5,)}, {"table": floats(7, 4)}
    )
    made.graph.input[0].type.tensor_type.elem_type = kind
    return made


@pytest.mark.parametrize("kind", [onnx.TensorProto.INT32, onnx.TensorProto.INT64])
def test_integer_inputs_look_rows_up(kind: int) -> None:
    made = embedding(kind)
    graph = read_onnx(made.SerializeToString(), Path("small.onnx"))
    words = np.array([[0, 6, 3, 3, 1], [5, 5, 0, 2, 4]]).astype(graph.inputs[0].dtype.storage)
    (ours,) = hwsim.run(graph, words, profile="float").values()
    (theirs,) = expected(made, {"x": words})
    assert np.array_equal(ours, theirs)
    drawn = hwsim.random_inputs(graph, 500)["x"]
    assert (drawn.min(), drawn.max()) == (0, 6)


def test_integers_that_are_no_indices_are_refused() -> None:
    made = embedding(onnx.TensorProto.INT64, [node("Relu", ["x"], ["z"])])
    made.graph.output.append(onnx.helper.make_tensor_value_info("z", onnx.TensorProto.INT64, None))
    sentence = (
        "small.onnx: node 1 (Relu ''): input 'x' must hold reals, not codes of int64; "
        "DequantizeLinear makes them"
    )
    with pytest.raises(FormatError, match=f"^{re.escape(sentence)}$"):
        read_onnx(made.SerializeToString(), Path("small.onnx"))


@pytest.mark.parametrize(
    ("nodes", "constants", "sentence"),
    [
        ([node("Where", ["hidden", "x", "zero"], ["y"])], {"zero": np.float32(0)},
         "constant choice must be a mask of at most -1e+30"),
        ([node("Where", ["hidden", "x", "x"], ["y"])], {},
         "one of the choices must be computed and the other a constant"),
    ],
)  # fmt: skip
def test_a_where_that_is_no_mask_is_refused(
    nodes: Sequence[onnx.NodeProto], constants: Mapping[str, NDArray[Any]], sentence: str
) -> None:
    made = model(nodes, ROWS, {"hidden": HIDDEN, **constants})
    with pytest.raises(FormatError, match=f"{re.escape(sentence)}$"):
        read_onnx(made.SerializeToString(), Path("small.onnx"))
