"""Small valid model files, and ways to break them that Hypothesis draws and shrinks."""

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import onnx
from hypothesis import strategies as st
from onnx.helper import make_node as node

from hwsim import networks
from tests.onnx_writer import model as onnx_model
from tests.strategies import GENERATORS, generate
from tests.tflite_writer import Model, Operator, Tensor

EXTREMES = (0, 1, -1, 2, 3, 4, 5, 127, 255, 2**16, 2**31 - 1, -(2**31), 0x7F800000, 0x7FC00000)
FIELDS = (0, 1, -1, 2, 3, 5, 7, 10, 17, 2**16, 2**31 - 1, 2**62, -(2**63))


# Bytes


@dataclass(frozen=True)
class Damage:
    """One change of a file's bytes; places are fractions of its length."""

    kind: str
    place: float
    length: int
    value: int

    def apply(self, data: bytes) -> bytes:
        """Return the damaged bytes."""
        at = int(self.place * len(data))
        end = min(at + self.length, len(data))
        match self.kind:
            case "word":
                at -= at % 4
                word = struct.pack("<I", self.value & 0xFFFFFFFF)
                return data[:at] + word[: len(data) - at] + data[at + 4 :]
            case "flip":
                return data[:at] + bytes([data[at] ^ (1 << self.value % 8)]) + data[at + 1 :]
            case "zero":
                return data[:at] + bytes(end - at) + data[end:]
            case "delete":
                return data[:at] + data[end:]
            case "repeat":
                return data[:end] + data[at:end] + data[end:]
            case "cut":
                return data[:at]
        raise ValueError(self.kind)


def damages(kinds: Sequence[str]) -> st.SearchStrategy[Damage]:
    """Draw one change of bytes; a word may be an extreme, a small offset or anything."""
    words = st.sampled_from(EXTREMES) | st.integers(0, 400) | st.integers(-(2**31), 2**31 - 1)
    places = st.integers(0, 2**20 - 1).map(lambda place: place / 2**20)
    return st.builds(Damage, st.sampled_from(kinds), places, st.integers(1, 64), words)


TFLITE_DAMAGE = st.lists(
    damages(["word"] * 8 + ["flip", "flip", "zero", "delete", "repeat", "cut"]),
    min_size=1, max_size=3,
)  # fmt: skip
ONNX_DAMAGE = st.lists(
    damages(["flip", "flip", "flip", "zero", "delete", "repeat", "word", "cut"]),
    min_size=1, max_size=3,
)  # fmt: skip


# TFLite


def _activation(name: str, *shape: int) -> Tensor:
    return Tensor(name, shape, "int8", (0.05,), (-3,))


def _constant(name: str, array: Any, dtype: str = "int32", scale: tuple[float, ...] = ()) -> Tensor:
    data = np.asarray(array)
    return Tensor(name, data.shape, dtype, scale, data=data)


def network() -> Model:
    """Return a small int8 network through most operators."""
    rng = np.random.default_rng(0)

    def weights(name: str, *shape: int, axis: int = 0) -> Tensor:
        scale = tuple(0.01 + 0.001 * index for index in range(shape[axis]))
        return Tensor(name, shape, "int8", scale, (), axis, rng.integers(-127, 128, shape))

    tensors = (
        _activation("x", 1, 5, 5, 2), _activation("a", 1, 5, 5, 4), _activation("b", 1, 3, 3, 4),
        _activation("c", 1, 3, 3, 4), _activation("d", 1, 3, 3, 8), _activation("e", 1, 2, 3, 8),
        _activation("f", 1, 4, 5, 8), _activation("g", 1, 8), _activation("h", 1, 3),
        _activation("i", 1, 3, 1), _activation("m", 1, 2, 2, 4), _activation("n", 1, 16),
        Tensor("y", (1, 3, 1), "int8", (1 / 256,), (-128,)),
        weights("w", 4, 3, 3, 2), _constant("bw", rng.integers(-99, 99, 4)),
        weights("dw", 1, 3, 3, 4, axis=3), _constant("bd", rng.integers(-99, 99, 4)),
        Tensor("fw", (3, 8), "int8", (0.01,), data=rng.integers(-127, 128, (3, 8))),
        _constant("begin", [0, 0, 0, 0]), _constant("end", [1, 3, 3, 8]),
        _constant("strides", [1, 2, 1, 1]), _constant("pads", [[0, 0], [1, 1], [2, 0], [0, 0]]),
        _constant("axes", [1, 2]), _constant("shape", [1, 3, 1]), _constant("flat", [1, 16]),
    )  # fmt: skip
    window = {"padding": "SAME", "strideH": 1, "strideW": 1, "dilationHFactor": 1}
    window["dilationWFactor"] = 1
    pool = {"padding": "VALID", "strideH": 1, "strideW": 1, "filterHeight": 2, "filterWidth": 2}
    operators = (
        Operator("CONV_2D", ("x", "w", "bw"), ("a",),
                 {**window, "fusedActivationFunction": "RELU"}),
        Operator("DEPTHWISE_CONV_2D", ("a", "dw", "bd"), ("b",),
                 {**window, "strideH": 2, "strideW": 2, "depthMultiplier": 1}),
        Operator("ADD", ("b", "b"), ("c",)),
        Operator("CONCATENATION", ("b", "c"), ("d",), {"axis": 3}),
        Operator("STRIDED_SLICE", ("d", "begin", "end", "strides"), ("e",)),
        Operator("PAD", ("e", "pads"), ("f",)),
        Operator("MEAN", ("f", "axes"), ("g",)),
        Operator("FULLY_CONNECTED", ("g", "fw", ""), ("h",)),
        Operator("RESHAPE", ("h", "shape"), ("i",), {"newShape": [1, 3, 1]}),
        Operator("SOFTMAX", ("i",), ("y",), {"beta": 1.0}),
        Operator("MAX_POOL_2D", ("c",), ("m",), pool),
        Operator("RESHAPE", ("m", "flat"), ("n",), {"newShape": [1, 16]}),
    )  # fmt: skip
    return Model(tensors, operators, ("x",), ("y", "n"))


@cache
def tflite_files() -> dict[str, bytes]:
    """Return the network and, for each generated operator, its smallest model of four."""
    files = {"network": network().to_bytes()}
    for name in GENERATORS:
        sizes = [generate(name, seed).model.to_bytes() for seed in range(4)]
        files[name] = min(sizes, key=len)
    return files


# ONNX


def image_net() -> onnx.ModelProto:
    """Return a small float network: Conv, BatchNormalization, Relu, Add, pools, Gemm."""
    rng = np.random.default_rng(1)

    def floats(*shape: int) -> Any:
        return rng.normal(size=shape).astype(np.float32)

    return onnx_model(
        [
            node("Conv", ["x", "w", "b"], ["a"], pads=[1, 1, 1, 1], strides=[1, 1], group=1),
            node("BatchNormalization", ["a", "s", "t", "m", "v"], ["n"], epsilon=1e-3),
            node("Relu", ["n"], ["r"]),
            node("Conv", ["r", "d"], ["dw"], group=4, dilations=[2, 2], pads=[2, 2, 2, 2]),
            node("Add", ["r", "dw"], ["sum"]),
            node("MaxPool", ["sum"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
            node("AveragePool", ["p"], ["q"], kernel_shape=[2, 2], pads=[1, 0, 1, 0]),
            node("Clip", ["q", "low", "high"], ["c"]),
            node("Flatten", ["c"], ["f"], axis=1),
            node("Gemm", ["f", "g", "gb"], ["y"], transB=1, alpha=0.5),
        ],
        {"x": (2, 6, 6)},
        {
            "w": floats(4, 2, 3, 3), "b": floats(4), "s": floats(4), "t": floats(4),
            "m": floats(4), "v": abs(floats(4)), "d": floats(4, 1, 3, 3), "g": floats(3, 32),
            "gb": floats(3), "low": np.float32(-1), "high": np.float32(1),
        },
    )  # fmt: skip


def token_net() -> onnx.ModelProto:
    """Return a small float network whose shapes are computed, as exporters write them."""
    rng = np.random.default_rng(2)

    def floats(*shape: int) -> Any:
        return rng.normal(size=shape).astype(np.float32)

    def ints(*numbers: int) -> Any:
        return np.array(numbers, np.int64)

    return onnx_model(
        [
            node("Shape", ["x"], ["shape"]),
            node("Gather", ["shape", "zero"], ["batch"], axis=0),
            node("Unsqueeze", ["batch", "first"], ["one"]),
            node("Concat", ["one", "heads"], ["target"], axis=0),
            node("MatMul", ["x", "w"], ["m"]),
            node("Reshape", ["m", "target"], ["h"], allowzero=0),
            node("Transpose", ["h"], ["k"], perm=[0, 2, 3, 1]),
            node("Transpose", ["h"], ["q"], perm=[0, 2, 1, 3]),
            node("MatMul", ["q", "k"], ["scores"]),
            node("Softmax", ["scores"], ["p"], axis=-1),
            node("ReduceMean", ["p"], ["r"], axes=[1], keepdims=0),
            node("MatMul", ["r", "x"], ["o"]),
            node("LayerNormalization", ["o", "s", "t"], ["l"], axis=-1, epsilon=1e-5),
            node("ConstantOfShape", ["size"], ["filled"]),
            node("Expand", ["filled", "size"], ["grown"]),
            node("Tile", ["grown", "times"], ["tiled"]),
            node("Range", ["zero", "three", "step"], ["range"]),
            node("Cast", ["range"], ["reals"], to=1),
            node("Add", ["l", "tiled"], ["u"]),
            node("Slice", ["u", "from", "to", "axes", "steps"], ["v"]),
            node("Pad", ["v", "pads"], ["z"], mode="constant"),
            node("Split", ["z"], ["i", "j"], axis=2),
            node("Mul", ["i", "reals"], ["n"]),
            node("Concat", ["n", "j"], ["y"], axis=1),
        ],
        {"x": (3, 6)},
        {
            "zero": np.int64(0), "first": ints(0), "heads": ints(3, 2, 3), "w": floats(6, 6),
            "s": floats(6), "t": floats(6), "size": ints(1, 6), "times": ints(1, 1),
            "three": np.int64(3), "step": np.int64(1), "from": ints(0), "to": ints(4),
            "axes": ints(2), "steps": ints(1), "pads": ints(0, 0, 1, 0, 0, 1),
        },
    )  # fmt: skip


@cache
def onnx_files() -> dict[str, bytes]:
    """Return the two small networks and the shipped ones."""
    small = {"image_net": image_net(), "token_net": token_net()}
    return {name: made.SerializeToString() for name, made in small.items()} | {
        name: networks.path(name).read_bytes() for name in networks.NAMES
    }


Edit = Callable[["Choice", onnx.ModelProto], None]


@dataclass(frozen=True)
class Choice:
    """An edit of a parsed model: which, of what, and to what."""

    edit: int
    place: int
    slot: int
    value: int

    def pick(self, things: Sequence[Any]) -> Any:
        """Return the thing that the place stands for."""
        return things[self.place % len(things)]

    def apply(self, model: onnx.ModelProto) -> None:
        """Change the model in place."""
        EDITS[self.edit % len(EDITS)](self, model)


def _attribute(choice: Choice, model: onnx.ModelProto) -> None:
    found = [attribute for made in model.graph.node for attribute in made.attribute]
    if not found:
        return
    attribute = choice.pick(found)
    if attribute.type == onnx.AttributeProto.INTS and attribute.ints:
        attribute.ints[choice.slot % len(attribute.ints)] = choice.value
    elif attribute.type == onnx.AttributeProto.FLOAT:
        attribute.f = (float("nan"), float("inf"), 0.0, -1.0, 3e38)[choice.slot % 5]
    else:
        attribute.i = choice.value


def _all_of_attribute(choice: Choice, model: onnx.ModelProto) -> None:
    found = [attribute for made in model.graph.node for attribute in made.attribute]
    if found:
        attribute = choice.pick(found)
        count = (0, 1, 2, 4, 100_000)[choice.slot % 5]
        attribute.type = onnx.AttributeProto.INTS
        attribute.ints[:] = [choice.value] * count


def _retype_attribute(choice: Choice, model: onnx.ModelProto) -> None:
    found = [attribute for made in model.graph.node for attribute in made.attribute]
    if found:
        choice.pick(found).type = choice.slot % 15


def _drop_attribute(choice: Choice, model: onnx.ModelProto) -> None:
    del choice.pick(model.graph.node).attribute[:]


def _add_attribute(choice: Choice, model: onnx.ModelProto) -> None:
    names = ("axis", "axes", "group", "pads", "strides", "auto_pad", "perm", "to", "ceil_mode")
    name = names[choice.slot % len(names)]
    value: Any = [choice.value] * 4 if name in ("axes", "pads", "strides", "perm") else choice.value
    choice.pick(model.graph.node).attribute.append(onnx.helper.make_attribute(name, value))


def _rewire(choice: Choice, model: onnx.ModelProto) -> None:
    made = choice.pick(model.graph.node)
    names = ["", "nowhere", *(name for other in model.graph.node for name in other.output)]
    names += [tensor.name for tensor in model.graph.initializer]
    side = made.output if choice.value < 0 else made.input
    if side:
        side[choice.slot % len(side)] = names[choice.value % len(names)]


def _shorten(choice: Choice, model: onnx.ModelProto) -> None:
    made = choice.pick(model.graph.node)
    side = made.output if choice.value < 0 else made.input
    del side[choice.slot % (len(side) + 1) :]


def _swap(choice: Choice, model: onnx.ModelProto) -> None:
    nodes = list(model.graph.node)
    at, other = choice.place % len(nodes), choice.slot % len(nodes)
    nodes[at], nodes[other] = nodes[other], nodes[at]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _operator(choice: Choice, model: onnx.ModelProto) -> None:
    kinds = (
        "Relu", "Gemm", "Conv", "Tile", "Expand", "Range", "Split", "Concat", "Where", "Pad",
        "ConstantOfShape", "Reshape", "Softmax", "Loop", "", "Squeeze", "Gather", "Erf\n",
    )  # fmt: skip
    choice.pick(model.graph.node).op_type = kinds[choice.slot % len(kinds)]


def _dims(choice: Choice, model: onnx.ModelProto) -> None:
    tensor = choice.pick(model.graph.initializer)
    if tensor.dims and choice.value % 4:
        tensor.dims[choice.slot % len(tensor.dims)] = choice.value
    else:
        tensor.dims[:] = [1] * (choice.slot % 70)


def _raw_data(choice: Choice, model: onnx.ModelProto) -> None:
    tensor = choice.pick(model.graph.initializer)
    tensor.raw_data = tensor.raw_data[: choice.slot % 16] * (1 + choice.value % 3)


def _constant_value(choice: Choice, model: onnx.ModelProto) -> None:
    found = [t for t in model.graph.initializer if t.data_type == onnx.TensorProto.INT64]
    if found:
        tensor = choice.pick(found)
        count = len(tensor.raw_data) // 8
        data = np.frombuffer(tensor.raw_data[: 8 * count], np.int64).copy()
        if count:
            data[choice.slot % count] = choice.value
        tensor.raw_data = data.tobytes()


def _data_type(choice: Choice, model: onnx.ModelProto) -> None:
    choice.pick(model.graph.initializer).data_type = choice.slot % 28


def _location(choice: Choice, model: onnx.ModelProto) -> None:
    tensor = choice.pick(model.graph.initializer)
    tensor.data_location = onnx.TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "/dev/zero"


def _border(choice: Choice, model: onnx.ModelProto) -> None:
    info = model.graph.input[0] if choice.slot % 2 else model.graph.output[0]
    tensor = info.type.tensor_type
    if choice.place % 4 == 0:
        info.name = ("", "y", "x", "a\nb")[choice.slot % 4]
    elif choice.place % 4 == 1:
        tensor.elem_type = choice.value % 100
    elif tensor.shape.dim:
        tensor.shape.dim[choice.slot % len(tensor.shape.dim)].dim_value = choice.value
    else:
        model.graph.output.append(model.graph.output[0])


def _opset(choice: Choice, model: onnx.ModelProto) -> None:
    versions = (0, 1, 6, 7, 9, 10, 11, 12, 13, 14, 18, 20, 28, 99, 2**62)
    model.opset_import[0].version = versions[choice.slot % len(versions)]


EDITS: tuple[Edit, ...] = (
    _attribute, _attribute, _attribute, _all_of_attribute, _retype_attribute, _drop_attribute,
    _add_attribute, _rewire, _rewire, _shorten, _swap, _operator, _operator, _dims, _dims,
    _raw_data, _constant_value, _constant_value, _data_type, _location, _border, _opset,
)  # fmt: skip
ONNX_EDITS = st.lists(
    st.builds(
        Choice,
        st.integers(0, len(EDITS) - 1),
        st.integers(0, 200),
        st.integers(0, 60),
        st.sampled_from(FIELDS) | st.integers(-8, 8),
    ),
    min_size=1,
    max_size=2,
)
