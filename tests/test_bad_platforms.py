"""Contradictory platforms and networks that a platform cannot run: one sentence, exit status 2."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx.helper import make_node

import hwsim.platforms
from hwsim import networks
from hwsim.cli import main
from tests.onnx_writer import model

FOLDER = Path(hwsim.platforms.__file__).parent
CNN = str(networks.path("digits_cnn"))
Refused = Callable[..., str]


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Refused:
    """Run the command line; return its one sentence."""

    def call(*words: str) -> str:
        monkeypatch.setattr(sys, "argv", ["hwsim", *words])
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            main()
        out, err = capsys.readouterr()
        assert (left.value.code, out) == (2, "")
        assert err.startswith("hwsim: ") and err.count("\n") == 1
        return err.removeprefix("hwsim: ").rstrip("\n")

    return call


def changed(folder: Path, name: str, table: str, value: str, *, number: int = 0) -> str:
    """Return the path of a copy of a shipped file whose `number`-th table has another value."""
    text = (FOLDER / f"{name}.toml").read_text("utf-8")
    parts = text.split(f"\n[{table}]\n")
    head, rest = (
        f"\n[{table}]\n".join(parts[: number + 1]),
        f"\n[{table}]\n".join(parts[number + 1 :]),
    )
    lines = rest.split("\n")
    at = next(index for index, line in enumerate(lines) if line.startswith("value = "))
    lines[at] = f"value = {value}"
    for index in range(at, len(lines)):
        if lines[index].startswith("["):
            break
        if lines[index].startswith(("low = ", "high = ")):
            lines[index] = f"{lines[index].split(' = ')[0]} = {value}"
    path = folder / "mine.toml"
    path.write_text("\n".join([f"{head}\n[{table}]", *lines]), "utf-8")
    return str(path)


@pytest.mark.parametrize(
    ("name", "table", "value", "sentence"),
    [
        ("ethos_u55_128", "memory.bandwidth", "0.0",
         "mine.toml: memory[0].bandwidth.value must be a positive number, not 0.0"),
        ("nvidia_t4", "memory.bandwidth", "0.0",
         "mine.toml: memory[1].bandwidth.value must be a positive number, not 0.0"),
        ("ethos_u55_128", "clock", "1e24",
         "mine.toml: clock.value must be in [1e-06, 100000] MHz, not 1e+24"),
        ("gap9", "point.clock", "1e30",
         "mine.toml: point[0].clock.value must be in [1e-06, 100000] MHz, not 1e+30"),
        ("pynq_z2", "clock", "1e-30",
         "mine.toml: clock.value must be in [1e-06, 100000] MHz, not 1e-30"),
        ("tpu_v1", "clock", "0.0", "mine.toml: clock.value must be a positive number, not 0.0"),
        ("eyeriss", "clock", "-200.0",
         "mine.toml: clock.value must be a positive number, not -200.0"),
        ("tpu_v1", "memory.capacity", "1.0",
         "mine.toml: memory must be at least 65536 bytes on the chip, one tile of 256 x 256, "
         "not 1024"),
        ("nvidia_t4", "memory.capacity", "1.0",
         "mine.toml: memory must be at least 2048 bytes on the chip, one tile of 64 x 64, "
         "not 1024"),
    ],
    ids=lambda text: text[:24],
)  # fmt: skip
def test_contradictory_files(
    tmp_path: Path, refused: Refused, name: str, table: str, value: str, sentence: str
) -> None:
    path = changed(tmp_path, name, table, value)
    assert refused("platforms", "check", path) == sentence
    assert refused("cost", CNN, "-p", path, "-b", "8") == sentence


@pytest.mark.parametrize("name", sorted(path.stem for path in FOLDER.glob("*.toml")))
def test_every_shipped_file_passes_its_own_check(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["hwsim", "platforms", "check", str(FOLDER / f"{name}.toml")])
    with pytest.raises(SystemExit) as left:
        main()
    assert not left.value.code and f"{name} is a valid " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "table", "value", "sentence"),
    [
        ("ethos_u55_128", "array.buffer", "1.0",
         "ethos_u55_128: array.buffer must hold the smallest block of a conv pass, not 1 KiB"),
        ("eyeriss", "array.mapping_buffer", "0.1",
         "eyeriss: unit '/Relu_output_0': filter height must be at most 12 and one pass must fit "
         "102 bytes of buffer, not 3 rows over an input 10 wide"),
        ("pynq_z2", "fabric.lut", "100.0",
         "pynq_z2: lut must be at most 70 (the part's closure limit), not 6647, which is the need "
         "of the smallest design; use narrower weights or a larger part"),
    ],
    ids=lambda text: text[:24],
)  # fmt: skip
def test_buffers_and_budgets_too_small_for_a_network(
    tmp_path: Path, refused: Refused, name: str, table: str, value: str, sentence: str
) -> None:
    path = changed(tmp_path, name, table, value)
    assert refused("cost", CNN, "-p", path, "-b", "8") == sentence


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("-p", "ethos_u55_128", "-b", "W4A4"),
         "ethos_u55_128: weight_bits x activation_bits must be one of 2x8, 3x8, 4x8, 5x8, 6x8, "
         "7x8, 8x8, not 4x4"),
        (("-p", "ndp120", "-b", "4"),
         "ndp120: weight_bits x activation_bits must be one of 8x8, not 4x4"),
        (("-p", "nvidia_h100", "-b", "W16A16"),
         "nvidia_h100: weight_bits x activation_bits must be one of 2x2, 2x3, 2x4, ..., 8x8, "
         "not 16x16"),
        (("-p", "pynq_z2", "-b", "W1A2"),
         "pynq_z2: weight_bits and activation_bits must be 2 or more, not 1x2: nobody synthesized "
         "a 1-bit (XNOR-popcount) unit for the table, so it has no price"),
        (("-p", "gap9", "--point", "900mv"),
         "gap9: point must be one of 650mv, 800mv, not '900mv'"),
        (("-p", "nvidia_t4", "--point", "900mv"),
         "nvidia_t4: kind must be mcu to run at point '900mv', not gpu"),
    ],
)  # fmt: skip
def test_what_a_platform_does_not_offer(
    refused: Refused, words: tuple[str, ...], sentence: str
) -> None:
    assert refused("cost", CNN, *words) == sentence


def saved(folder: Path, made: onnx.ModelProto) -> str:
    path = folder / "net.onnx"
    onnx.save(made, path)
    return str(path)


def wide_filter(size: int) -> onnx.ModelProto:
    """One convolution with a window higher than the rows of Eyeriss."""
    weights = np.zeros((2, 1, size, size), np.float32)
    node = make_node("Conv", ["x", "w"], ["y"], pads=[size // 2] * 4)
    return model([node], {"x": (1, 16, 16)}, {"w": weights}, outputs=("y",), batch=1)


def large_input(side: int, channels: int) -> onnx.ModelProto:
    weights = np.zeros((1, channels, 1, 1), np.float32)
    node = make_node("Conv", ["x", "w"], ["y"])
    shape = (channels, side, side)
    return model([node], {"x": shape}, {"w": weights}, outputs=("y",), batch=1)


@pytest.mark.parametrize(
    ("made", "platform", "sentence"),
    [
        (lambda: wide_filter(13), "eyeriss",
         "eyeriss: unit 'y/nhwc': filter height must be at most 12 and one pass must fit 102400 "
         "bytes of buffer, not 13 rows over an input 28 wide"),
        (lambda: large_input(512, 4), "stm32l4r5",
         "stm32l4r5: unit 'y/nhwc': its activation tensors must fit 655360 bytes of sram, "
         "not 1572864"),
    ],
)  # fmt: skip
def test_a_layer_that_the_platform_cannot_run(
    tmp_path: Path, refused: Refused, made: Callable[[], Any], platform: str, sentence: str
) -> None:
    assert refused("cost", saved(tmp_path, made()), "-p", platform, "-b", "8") == sentence
