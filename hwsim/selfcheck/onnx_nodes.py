"""The onnx package's own node tests of quantized operators against the integer engine.

Each test is a model of one operator with inputs and outputs that the ONNX project wrote. Scales,
zero points and weights are inputs there; here all but the first input become constants.
"""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

import hwsim
from hwsim.errors import HwsimError
from hwsim.formats.onnx import read_onnx
from hwsim.selfcheck.check import Check, Places, Progress

AREA = "onnx node tests"
OPERATORS = (
    "ConvInteger",
    "DequantizeLinear",
    "DynamicQuantizeLinear",
    "MatMulInteger",
    "QLinearConv",
    "QLinearMatMul",
    "QuantizeLinear",
)
_FLOAT_CODES = frozenset({"FLOAT8E4M3FN", "FLOAT8E4M3FNUZ", "FLOAT8E5M2", "FLOAT8E5M2FNUZ"})
_FLOATS = MappingProxyType(
    {"FLOAT4E2M1": "4-bit floats"} | dict.fromkeys(_FLOAT_CODES, "8-bit floats")
)


@dataclass(frozen=True)
class NodeTest:
    """One test of the onnx package.

    Args:
        name: As the package calls it.
        operator: The quantized operator.
        model: Its model, whose graph input is the first tensor alone.
        given: The first input.
        expected: Outputs by name.
        left_out: Why it does not run; "" if it does.
    """

    name: str
    operator: str
    model: onnx.ModelProto
    given: NDArray[Any]
    expected: Mapping[str, NDArray[Any]]
    left_out: str


def node_tests() -> list[NodeTest]:
    """Return every node test that the installed onnx package has of a quantized operator."""
    from onnx.backend.test.loader import load_model_tests

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the package's generators overflow on purpose
        cases = load_model_tests(kind="node")
    found = []
    for case in cases:
        model = case.model
        if model is None:
            model = onnx.load(str(Path(str(case.model_dir)) / "model.onnx"))
        operators = [node.op_type for node in model.graph.node if node.op_type in OPERATORS]
        if operators:
            found.append(_node_test(case, model, operators[0]))
    return found


def _node_test(case: Any, model: onnx.ModelProto, operator: str) -> NodeTest:
    inputs, outputs = case.data_sets[0] if case.data_sets else _stored(Path(case.model_dir))
    names = [info.name for info in model.graph.input]
    tensors = dict(zip(names, inputs, strict=True))
    bound = onnx.ModelProto()
    bound.CopyFrom(model)
    del bound.graph.input[1:]
    for name in names[1:]:
        tensor = tensors[name]
        if not isinstance(tensor, TensorProto):
            tensor = numpy_helper.from_array(np.asarray(tensor), name)
        bound.graph.initializer.add().CopyFrom(tensor)
        bound.graph.initializer[-1].name = name
    expected = {
        info.name: _array(made) for info, made in zip(model.graph.output, outputs, strict=True)
    }
    left_out = _left_out(model)
    return NodeTest(case.name, operator, bound, _array(tensors[names[0]]), expected, left_out)


def _stored(folder: Path) -> tuple[list[TensorProto], list[TensorProto]]:
    """Return (inputs, outputs) that an older package keeps in files."""
    sides: list[list[TensorProto]] = []
    for side in ("input", "output"):
        count = len(list((folder / "test_data_set_0").glob(f"{side}_*.pb")))
        paths = [folder / "test_data_set_0" / f"{side}_{index}.pb" for index in range(count)]
        sides.append([onnx.load_tensor(str(path)) for path in paths])
    return sides[0], sides[1]


def _array(tensor: Any) -> NDArray[Any]:
    if isinstance(tensor, TensorProto):
        return np.asarray(numpy_helper.to_array(tensor))
    return np.asarray(tensor)


def _left_out(model: onnx.ModelProto) -> str:
    kinds = TensorProto.DataType
    for info in (*model.graph.input, *model.graph.output):
        name = kinds.Name(info.type.tensor_type.elem_type)
        if name in _FLOATS:
            return f"codes are {_FLOATS[name]}, not integers"
    if len(model.graph.node) > 1:
        return "the operator is written out in float operators, its scale is computed at run time"
    return ""


def run_node_test(test: NodeTest) -> tuple[int, int]:
    """Return (elements, elements that differ) of a test's outputs.

    Raises:
        HwsimError: If the reader or the engine refuses the model.
    """
    graph = read_onnx(test.model.SerializeToString(), Path(f"{test.name}.onnx"))
    given = test.given.astype(graph.inputs[0].dtype.storage)
    made = hwsim.run(graph, given)
    elements = differing = 0
    for name, wanted in test.expected.items():
        mine = made[name]
        elements += wanted.size
        if mine.shape != wanted.shape:
            differing += wanted.size
        else:
            differing += int(np.count_nonzero(mine != wanted.astype(mine.dtype)))
    return elements, differing


def onnx_nodes(places: Places, progress: Progress) -> Iterator[Check]:
    """Run the node tests of each quantized operator."""
    progress(AREA)
    tests = node_tests()
    for operator in OPERATORS:
        yield _check(operator, [test for test in tests if test.operator == operator])


def _check(operator: str, tests: Sequence[NodeTest]) -> Check:
    run = wrong = elements = 0
    left_out: dict[str, list[str]] = {}
    faults = []
    for test in tests:
        short = test.name.removeprefix("test_")
        if test.left_out:
            left_out.setdefault(test.left_out, []).append(short)
            continue
        run += 1
        try:
            compared, differing = run_node_test(test)
        except HwsimError as error:
            compared, differing = 0, 1
            faults.append(f"{short}: {error}")
        elements += compared
        if differing:
            wrong += 1
            faults.append(f"{short}: {differing} of {compared} elements differ")
    notes = [*faults[:1], *(f"{', '.join(names)}: {why}" for why, names in left_out.items())]
    skipped = sum(map(len, left_out.values()))
    version = f"onnx {onnx.__version__}"
    return Check(AREA, operator, "ort", version, run, skipped, wrong, elements, "; ".join(notes))
