"""The command line as a person meets it: figures, exit statuses, one sentence for bad input."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from hwsim import networks
from hwsim.cli import main
from tests.strategies import generate

Call = Callable[..., "Done"]
Refusal = Callable[..., str]
CNN = str(networks.path("digits_cnn"))


@dataclass(frozen=True)
class Done:
    status: int
    stdout: str
    stderr: str


@pytest.fixture
def hwsim(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Done]:
    """Run the command line in this process; importing torch anew for each call takes seconds."""

    def call(*words: str, status: int = 0) -> Done:
        monkeypatch.setattr(sys, "argv", ["hwsim", *words])
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            main()
        out, err = capsys.readouterr()
        assert (left.value.code or 0) == status, out + err
        return Done(status, out, err)

    return call


@pytest.fixture
def sentence(hwsim: Callable[..., Done]) -> Callable[..., str]:
    """Return what a refused command says: one line on the error stream, exit status 2."""

    def call(*words: str) -> str:
        done = hwsim(*words, status=2)
        lines = done.stderr.strip().splitlines()
        assert len(lines) == 1 and lines[0].startswith("hwsim: "), done.stderr
        return lines[0].removeprefix("hwsim: ")

    return call


def test_a_process_ends_with_the_status_and_one_sentence() -> None:
    command = [sys.executable, "-m", "hwsim", "run", "absent.tflite"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == (
        "hwsim: absent.tflite: file must be readable; No such file or directory\n"
    )


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    split = networks.digits_split()
    path = tmp_path / "digits.npz"
    np.savez(path, x=split.x_test[:64], y=split.y_test[:64])
    return path


@pytest.fixture
def integer_model(tmp_path: Path) -> Path:
    path = tmp_path / "conv.tflite"
    path.write_bytes(generate("CONV_2D", 3).model.to_bytes())
    return path


def test_help_is_light(hwsim: Call) -> None:
    code = "import sys, hwsim.cli; print(*sorted(sys.modules))"
    loaded = subprocess.check_output([sys.executable, "-c", code], text=True).split()
    assert not {"numba", "torch", "pandas", "matplotlib", "onnx", "pydantic"} & set(loaded)
    for verb in ("run", "validate", "cost", "allocate", "pareto", "demo", "platforms"):
        assert verb in hwsim("--help").stdout


def test_info_counts_macs(hwsim: Call) -> None:
    shown = json.loads(hwsim("info", CNN, "--json").stdout)
    # 3x3 stem, 3 residual blocks (two with 1x1 shortcuts) on 8x8, 4x4 and 2x2 maps, linear head.
    stem, block1 = 64 * 9 * 16, 2 * 64 * 9 * 16 * 16
    block2 = 16 * (9 * 16 * 32 + 9 * 32 * 32 + 16 * 32)
    block3 = 4 * (9 * 32 * 64 + 9 * 64 * 64 + 32 * 64)
    assert shown["macs"] == stem + block1 + block2 + block3 + 640


def test_info_says_what_an_approximation_cannot_do(digits: Path, hwsim: Call) -> None:
    words = ("info", str(networks.path("digits_vit")), "--profile", "ivit", "--data", str(digits))
    forms = json.loads(hwsim(*words, "--json").stdout)["approximations"]
    found = {form["operator"]: form for form in forms}
    assert set(found) == {"layer_norm", "softmax", "gelu"}
    assert any("has not converged" in warning for warning in found["layer_norm"]["warnings"])
    assert found["gelu"]["bits"] > 32 > found["softmax"]["bits"]
    assert "ShiftGELU is off by up to" in hwsim(*words).stdout


def test_run_counts_correct_answers(digits: Path, hwsim: Call) -> None:
    shown = json.loads(hwsim("run", CNN, str(digits), "--profile", "float", "--json").stdout)
    assert (shown["total"], shown["outputs"]["logits"]["shape"]) == (64, [64, 10])
    assert 60 <= shown["correct"] <= 64


def test_a_saved_trace_is_its_own_oracle(integer_model: Path, tmp_path: Path, hwsim: Call) -> None:
    saved = tmp_path / "trace.npz"
    hwsim("trace", str(integer_model), "--random", "3", "--out", str(saved))
    assert "0 of" in hwsim("validate", str(integer_model), "--against", str(saved)).stdout
    with np.load(saved) as archive:
        arrays = {name: archive[name].copy() for name in archive.files}
    arrays["ofmap"].flat[0] ^= 1
    np.savez(saved, **arrays)
    done = hwsim("validate", str(integer_model), "--against", str(saved), status=1)
    assert "1 of" in done.stdout and "first: ofmap" in done.stdout


def test_cost_writes_the_table_it_prints(tmp_path: Path, hwsim: Call) -> None:
    out = tmp_path / "cost.csv"
    text = hwsim("cost", CNN, "-p", "nvidia_t4", "-b", "W4A8", "-o", str(out), "--json").stdout
    shown = json.loads(text)
    assert shown["total"]["macs"] == 763520
    assert out.read_text().startswith("unit,weight_bits,activation_bits,macs,energy_j")


def test_cost_draws_rooflines(tmp_path: Path, hwsim: Call, sentence: Refusal) -> None:
    out = tmp_path / "roof.png"
    hwsim("cost", CNN, "-p", "nvidia_t4", "-b", "8", "--roofline", str(out))
    assert out.read_bytes()[:4] == b"\x89PNG"
    assert sentence("cost", CNN, "--roofline", "roof.svg") == (
        "--roofline must end in .png, not '.svg'"
    )
    assert sentence("cost", CNN, "-p", "pynq_z2", "-b", "8", "--roofline", str(out)) == (
        "pynq_z2: kind must be npu, mcu or gpu for a roofline, not fpga"
    )


def test_allocate_meets_its_budget(digits: Path, tmp_path: Path, hwsim: Call) -> None:
    out = tmp_path / "bits.json"
    text = hwsim(
        "allocate", CNN, "-d", str(digits), "--max-energy", "6uJ", "-o", str(out), "--json"
    ).stdout
    assert json.loads(text)["resources"]["energy_j"] <= 6e-6
    assert json.loads(hwsim("cost", CNN, "-b", str(out), "--json").stdout)["rows"]


def test_pareto_writes_a_run_folder(
    digits: Path, tmp_path: Path, hwsim: Call, sentence: Refusal
) -> None:
    out = tmp_path / "run"
    words = ("pareto", CNN, "-d", str(digits), "--widths", "8,4", "--points", "2", "-o", str(out))
    hwsim(*words)
    names = {path.name for path in out.rglob("*")}
    assert {"manifest.json", "pareto.png", "measured.csv", "front.csv", "energy.png"} <= names
    assert (
        sentence(*words) == f"run folder {str(out)!r} must not exist yet; --overwrite replaces it"
    )
    hwsim(*words, "--overwrite")


def test_memories_are_explained_operand_by_operand(hwsim: Call) -> None:
    shown = hwsim("cost", CNN, "-p", "eyeriss", "-b", "8", "--explain").stdout
    assert "partial_sums  buffer" in shown
    assert "inputs are inside; tile in buffer: " in shown
    assert "bytes of one inference; a unit pays for the tensors it reads" in shown
    call = ("cost", CNN, "-p", "nvidia_t4", "-b", "8", "--batch", "4")
    found = json.loads(hwsim(*call, "--explain", "--json").stdout)
    assert found["batch"] == 4
    priced = json.loads(hwsim(*call, "--json").stdout)
    assert priced["notes"][-1] == "Costs are of one inference in a batch of 4."
    by_unit = {row["unit"]: row for row in priced["rows"]}
    for unit in found["memory"]:
        moved = sum(
            access["read_bytes"] + access["write_bytes"]
            for access in unit["accesses"]
            if access["level"] == "dram"
        )
        assert by_unit[unit["unit"]]["memory_bytes"]["dram"] == moved / 4
    layers = [layer for unit in found["memory"] for layer in unit["schedules"]]
    assert all(set(layer["tile"]) >= {"filters", "channels"} for layer in layers)
    assert len(layers) == 10
    other = json.loads(hwsim("cost", CNN, "-b", "8", "--explain", "--json").stdout)
    assert other["memory"] == []  # a block engine has its own schedule


def test_a_batch_and_a_buffer_are_refused_in_one_sentence(
    sentence: Refusal, tmp_path: Path
) -> None:
    assert sentence("cost", CNN, "--batch", "0") == "batch must be a positive integer, not 0"
    table = networks.path("digits_cnn").parents[1] / "platforms" / "eyeriss.toml"
    small = tmp_path / "small.toml"
    small.write_text(table.read_text("utf-8").replace("value = 108\n", "value = 1\n"), "utf-8")
    refused = sentence("cost", CNN, "-b", "8", "-p", str(small))
    assert refused.startswith("eyeriss: unit '/Relu_output_0': layer '/Relu_output_0' must find ")
    assert refused.endswith(" bytes of buffer for its smallest tiles, not 1024")


def test_an_fpga_is_explained_part_by_part(hwsim: Call) -> None:
    shown = hwsim("cost", CNN, "-p", "zcu104", "-b", "4", "--explain").stdout
    assert "dot products" in shown and "requantize" in shown and "usable" in shown
    assert "\nenergy " in shown and "board_power" in shown
    found = json.loads(hwsim("cost", CNN, "-p", "zcu104", "-b", "4", "--explain", "--json").stdout)
    parts = found["design"]["parts"]
    assert sum(part["lut"] for part in parts) == found["design"]["used"]["lut"]
    other = json.loads(hwsim("cost", CNN, "--explain", "--json").stdout)
    assert other["design"] is None and other["energy"]["low"] < other["energy"]["high"]
    assert found["design"]["ff"] == sum(part["ff"] or 0 for part in parts) > 0
    assert {part["part"] for part in parts if part["ff"] is None} == {"weights", "control"}


@pytest.mark.parametrize(
    "platform", ["ethos_u55_128", "gap9", "nvidia_t4", "pynq_z2", "tpu_v1", "eyeriss"]
)
def test_three_constants_are_named_for_energy_and_latency(platform: str, hwsim: Call) -> None:
    shown = hwsim("cost", CNN, "-p", platform, "--explain").stdout
    energy, latency = shown[shown.index("\nenergy ") if "\nenergy " in shown else 0 :].split(
        "\nlatency "
    )
    for lines in (energy.strip().splitlines(), latency.splitlines()):
        fields = [line for line in lines if re.match(r"    [a-z][\w.\[\]]* = ", line)]
        assert len(fields) == 3 and all(" moves it by " in f or " doubled " in f for f in fields)
        assert len([line for line in lines if line.startswith("        ")]) == 3


def test_a_point_keeps_the_fields_of_its_file(hwsim: Call) -> None:
    words = ("cost", CNN, "-p", "gap9", "-b", "8", "--point", "800mv", "--explain", "--json")
    found = json.loads(hwsim(*words).stdout)
    assert found["energy"]["constants"][0]["field"] == "point[1].active_power"


def test_totals_carry_their_intervals(hwsim: Call, sentence: Refusal) -> None:
    found = json.loads(hwsim("cost", CNN, "-b", "8", "--json").stdout)
    low, high = found["intervals"]["energy_j"]
    assert low < found["total"]["energy_j"] < high
    assert "energy 13.0 µJ, between " in hwsim("cost", CNN, "-b", "8").stdout
    one = json.loads(
        hwsim("cost", CNN, "-b", "8", "--explain", "--unit", "logits", "--json").stdout
    )
    assert one["unit"] == "logits" and one["energy"]["value"] < found["total"]["energy_j"]
    assert sentence("cost", CNN, "--unit", "logits") == "--unit must be given with --explain"
    assert sentence("cost", CNN, "--explain", "--mac-model", "horowitz_45nm") == (
        "--explain must be asked for without --mac-model: it explains the platform's own model"
    )


def test_the_softmax_matrix_states_no_single_factor(hwsim: Call) -> None:
    shown = hwsim("platforms", "softmax-matrix").stdout
    assert "1.08 1.06 1.23" in shown and "0.30292" in shown and "over 144 pairings" in shown
    found = json.loads(hwsim("platforms", "softmax-matrix", "--json").stdout)
    assert len(found["ratios"]) == 144 and len(found["units"]) == 64


def test_platform_files(tmp_path: Path, hwsim: Call) -> None:
    assert "pynq_z2" in hwsim("platforms", "list").stdout
    assert "source" in hwsim("platforms", "show", "nvidia_t4", "--json").stdout
    assert json.loads(hwsim("platforms", "schema").stdout)
    shipped = Path(__file__).parent.parent / "platforms" / "horowitz_ratio.toml"
    mine = tmp_path / "mine.toml"
    mine.write_text(shipped.read_text())
    assert "valid" in hwsim("platforms", "check", str(mine)).stdout


def test_refusals_are_one_sentence(
    digits: Path, integer_model: Path, tmp_path: Path, sentence: Refusal
) -> None:
    assert sentence("run", "absent.tflite") == (
        "absent.tflite: file must be readable; No such file or directory"
    )
    assert sentence("run", str(digits)) == (
        "digits.npz: file must end in .tflite or .onnx, not '.npz'"
    )
    assert sentence("run", CNN, str(digits)) == (
        "graph 'digits_cnn' must hold quantized codes, not floats; quantize it, or ask for "
        "profile 'float'"
    )
    assert sentence("validate", str(integer_model), "--seed", "-1") == (
        "seed must be 0 or more, not -1"
    )
    missing = tmp_path / "absent" / "cost.csv"
    assert sentence("cost", CNN, "-o", str(missing)) == (
        f"{missing}: output must be writable; No such file or directory"
    )
    assert sentence("sensitivity", str(integer_model), "-d", str(digits)) != ""
    assert sentence("cost", CNN, "-p", "tpu_v9").startswith("platform must be one of ")
    assert sentence("cost", CNN, "-b", "W3A3") == (
        "ethos_u55_128: weight_bits x activation_bits must be one of 2x8, 3x8, 4x8, 5x8, 6x8, "
        "7x8, 8x8, not 3x3"
    )
    assert sentence("cost", CNN, "-b", "lots") == (
        "bits must be a width or a pair such as W4A8, not 'lots'"
    )
    assert sentence("allocate", CNN, "-d", str(digits), "--max-energy", "12 parsecs") == (
        "--max-energy must be a positive number of J, not '12 parsecs'"
    )
    refused = sentence("allocate", CNN, "-d", str(digits), "--max-energy", "1pJ")
    assert refused.startswith("budget max_energy_j must be at least ")
    assert sentence("trace", str(integer_model), "-d", str(digits), "-o", "x.npz") != ""
    assert not Path("x.npz").exists()
    assert sentence("run", CNN) == "inputs must be given; --data names an .npz or .npy"
