import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from hwsim import networks
from hwsim.errors import InputError

# What the shipped files get right of the 600 held-out images, counted once with onnxruntime.
CORRECT = {"digits_cnn": 597, "digits_vit": 594}


@pytest.fixture
def split() -> networks.Split:
    pytest.importorskip("sklearn", reason="scikit-learn is missing: this case needs the digits")
    return networks.digits_split()


def shape(value: onnx.ValueInfoProto) -> list[str | int]:
    return [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]


@pytest.mark.parametrize("name", networks.NAMES)
def test_file_is_small_valid_and_names_no_machine(name: str) -> None:
    file = networks.path(name)
    content = file.read_bytes()
    assert len(content) < 1_000_000
    assert not [mark for mark in (b"/work", b"/root", b"/home", b".py") if mark in content]
    onnx.checker.check_model(onnx.load(file), full_check=True)


@pytest.mark.parametrize("name", networks.NAMES)
def test_interface(name: str) -> None:
    model = onnx.load(networks.path(name))
    (images,), (logits,) = model.graph.input, model.graph.output
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", 17)]
    assert (images.name, shape(images)) == ("input", ["batch", 1, 8, 8])
    assert (logits.name, shape(logits)) == ("logits", ["batch", 10])
    assert images.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    assert logits.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    assert {tensor.data_type for tensor in model.graph.initializer} == {onnx.TensorProto.FLOAT}


def test_cnn_keeps_its_batch_norms() -> None:
    operators = [node.op_type for node in onnx.load(networks.path("digits_cnn")).graph.node]
    counts = {operator: operators.count(operator) for operator in operators}
    assert counts == {
        "Conv": 9,
        "BatchNormalization": 9,
        "Relu": 7,
        "Add": 3,
        "GlobalAveragePool": 1,
        "Flatten": 1,
        "Gemm": 1,
    }


def test_vit_keeps_its_layer_norms() -> None:
    operators = [node.op_type for node in onnx.load(networks.path("digits_vit")).graph.node]
    # Two a block and the last; one a block; one GELU a block; 4 projections, 2 products, 2 layers.
    assert operators.count("LayerNormalization") == 9
    assert operators.count("Softmax") == 4
    assert operators.count("Erf") == 4
    assert operators.count("MatMul") == 32


@pytest.mark.parametrize("name", networks.NAMES)
def test_held_out_accuracy(name: str, split: networks.Split) -> None:
    onnxruntime = pytest.importorskip(
        "onnxruntime",
        reason=f"onnxruntime is missing: {len(networks.NAMES)} accuracy cases need it, one a file",
    )
    session = onnxruntime.InferenceSession(
        str(networks.path(name)), providers=["CPUExecutionProvider"]
    )
    (logits,) = session.run(["logits"], {"input": split.x_test})
    assert (logits.argmax(axis=1) == split.y_test).sum() == CORRECT[name]


def test_split_shapes_and_range(split: networks.Split) -> None:
    for images, labels, count in (
        (split.x_train, split.y_train, 1197),
        (split.x_test, split.y_test, 600),
    ):
        assert (images.dtype.name, images.shape) == ("float32", (count, 1, 8, 8))
        assert (labels.dtype.name, labels.shape) == ("int64", (count,))
        assert (images.min(), images.max()) == (0, 1)


def test_split_has_no_overlap(split: networks.Split) -> None:
    images = np.concatenate((split.x_train, split.x_test)).reshape(1797, 64)
    assert len(np.unique(images, axis=0)) == 1797


def test_split_is_stratified(split: networks.Split) -> None:
    held_out = np.bincount(split.y_test, minlength=10)
    share = (np.bincount(split.y_train, minlength=10) + held_out) * 600 / 1797
    assert (abs(held_out - share) < 1).all()


@pytest.mark.parametrize(
    "labels", [np.arange(1797) % 10, np.zeros(600, np.int64), np.sort(np.arange(900) % 3)]
)
def test_split_indices_part_the_images(labels: NDArray[np.int64]) -> None:
    train, test = networks.split_indices(labels)
    assert len(test) == networks.TEST_SIZE
    assert (np.sort(np.concatenate((train, test))) == np.arange(len(labels))).all()


def test_split_never_moves() -> None:
    _, test = networks.split_indices(np.arange(1797) % 10)  # the files know the other part
    assert test[:8].tolist() == [1, 2, 4, 6, 8, 12, 15, 16]


def test_unknown_name_is_refused() -> None:
    with pytest.raises(
        InputError, match=r"^network must be one of digits_cnn, digits_vit, not 'resnet'$"
    ):
        networks.path("resnet")


def test_missing_scikit_learn_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(
        InputError,
        match=r"^scikit-learn must be installed to load the digits; "
        r"run pip install hwsim\[demo\]$",
    ):
        networks.digits_split()


def test_import_is_light() -> None:
    code = "import sys, hwsim.networks; print(*sys.modules)"
    root = Path(__file__).resolve().parent.parent
    loaded = subprocess.check_output([sys.executable, "-c", code], cwd=root, text=True).split()
    assert not {"torch", "sklearn", "onnx", "onnxruntime"} & set(loaded)
