"""Traces for RTL: files that say what the run said, and testbenches that tell right from wrong."""

import json
import os
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hwsim
from hwsim.attributes import ConvAttrs, FusedAttrs, NoAttrs
from hwsim.calibration import calibrate
from hwsim.cli import main
from hwsim.errors import InputError
from hwsim.formats.tflite import read_tflite
from hwsim.graph import Graph, Node, Value
from hwsim.ops import Op
from hwsim.partition import partition
from hwsim.profiles import PROFILES
from hwsim.quant import INT8, INT32, IntType, QuantParams
from hwsim.quantizer import quantize
from hwsim.reports import run_folder
from hwsim.rtl.layer import folder_name
from hwsim.rtl.words import hex_lines
from tests.float_graphs import FAMILIES, random_bits, samples
from tests.oracle.arith import hawq_dyadic, mbqm_double
from tests.rtl.simulators import MISSING, run_testbench
from tests.strategies import generate

RTL = Path(__file__).parent / "rtl"
Words = Callable[..., list[int]]


def decoded(text: str, width: int, signed: bool) -> list[int]:
    """Read hex lines back, as a memory of that width would hold them."""
    digits = -(-width // 4)
    words = []
    for line in text.splitlines():
        assert len(line) == digits
        word = int(line, 16)
        assert word < 2**width
        words.append(word - 2**width if signed and word >> (width - 1) else word)
    return words


@pytest.mark.parametrize("width", [1, 3, 4, 6, 8, 9, 16, 31, 32, 48, 63, 64])
def test_words_come_back(width: int) -> None:
    rng = np.random.default_rng(width)
    low, high = -(2 ** (width - 1)), 2 ** (width - 1)
    signed = np.r_[rng.integers(low, high, 40), low, high - 1, -1, 0].reshape(4, -1)
    assert decoded(hex_lines(signed, width).decode(), width, True) == signed.reshape(-1).tolist()
    unsigned = rng.integers(0, 2**width, 40, np.uint64, endpoint=False)
    assert decoded(hex_lines(unsigned, width).decode(), width, False) == unsigned.tolist()


def test_words_that_do_not_fit_are_refused() -> None:
    for word in (-9, 16):
        with pytest.raises(ValueError, match=r"^words must fit 4 bits, not \["):
            hex_lines(np.array([word]), 4)


def test_floats_are_their_bits() -> None:
    assert hex_lines(np.array([1.0, -2.0], np.float32), 32) == b"3f800000\nc0000000\n"


def test_folder_names_are_safe_and_differ() -> None:
    names = ["", "con", "a/../../b", "A", "a", "ü⚡", "x" * 900, "new\nline", 'q"$(`\\', "nul.txt"]
    made = [folder_name(index, name, "conv_2d") for index, name in enumerate(names)]
    assert len({name.lower() for name in made}) == len(names)
    for name in made:
        assert name.isascii() and name.replace("_", "").isalnum() and len(name) <= 40, name


# ---- a small network with ties everywhere, int4 weights and names that no file may have ----


def small() -> Graph:
    """Return conv (int4 weights), add, logistic; scales are powers of two, so ties abound."""
    rng = np.random.default_rng(0)
    half, one = QuantParams((0.5,), (3,)), QuantParams((1.0,), (-2,))
    int4 = IntType(4)
    weights = rng.integers(-8, 8, (3, 3, 3, 2)).astype(int4.storage)
    bias = rng.integers(-60, 60, 3).astype(np.int32)
    scales = (0.125, 0.25, 0.0625)
    values = [
        Value("x", (1, 5, 4, 2), INT8, half),
        Value("w", weights.shape, int4, QuantParams(scales, (0, 0, 0), 0), weights),
        Value("b", (3,), INT32, None, bias),
        Value("c", (1, 5, 4, 3), INT8, one),
        Value("s", (1, 5, 4, 3), INT8, QuantParams((4.0,), (1,))),
        Value("p", (1, 5, 4, 3), INT8, QuantParams((2.0**-8,), (-128,))),
    ]
    conv = ConvAttrs(stride=(1, 1), padding=(1, 1, 1, 1))
    nodes = (
        Node("../A:b\n", Op.CONV_2D, ("x", "w", "b"), ("c",), conv),
        Node("../a:b ", Op.ADD, ("c", "c"), ("s",), FusedAttrs()),
        Node("⚡", Op.LOGISTIC, ("s",), ("p",), NoAttrs()),
    )
    return Graph("small", {v.name: v for v in values}, nodes, ("x",), ("p",), "hawq")


@pytest.fixture
def traced(tmp_path: Path) -> Path:
    graph = small()
    return hwsim.trace_rtl(graph, hwsim.random_inputs(graph, 20), tmp_path / "trace")


OPERATORS = (
    "CONV_2D", "DEPTHWISE_CONV_2D", "ADD", "MUL", "MEAN", "LEAKY_RELU", "SOFTMAX",
    "FULLY_CONNECTED", "QUANTIZE", "LOGISTIC",
)  # fmt: skip


def network(name: str) -> Graph:
    """Return a random network of a family at random widths, or one operator of a .tflite file."""
    if name not in FAMILIES:
        return read_tflite(generate(name, 5).model.to_bytes(), Path(f"{name}.tflite"))
    graph = FAMILIES[name](1)
    ranges = calibrate(graph, samples(graph, 16, 1))
    return quantize(graph, ranges, random_bits(partition(graph).units, 1))


def index_of(folder: Path) -> Any:
    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    return json.loads((folder / "index.json").read_text("utf-8"), parse_constant=refuse)


def port_words(folder: Path, layer: Any) -> dict[str, np.ndarray]:
    """Read every integer port of a layer from its files alone."""
    made = {}
    for port in layer["ports"]:
        text = (folder / port["file"]).read_text("ascii")
        words = decoded(text, port["width"], port["signed"] and port["format"] == "integer")
        assert len(words) == port["words"] == int(np.prod(port["shape"]))
        made[port["name"]] = np.array(words, object).reshape(port["shape"])
    return made


RULES: dict[str, Callable[[int, int, int], int]] = {
    "double_rounding": lambda acc, m, shift: mbqm_double(acc, m, -shift),
    "half_even": lambda acc, m, shift: hawq_dyadic(acc, m, 31 + shift),
}


@pytest.mark.parametrize("name", [*FAMILIES, *OPERATORS])
def test_files_explain_the_run(name: str, tmp_path: Path) -> None:
    graph = network(name)
    feed = hwsim.random_inputs(graph, 2)
    folder = hwsim.trace_rtl(graph, feed, tmp_path / "trace")
    run = hwsim.trace(graph, feed)
    index = index_of(folder)
    assert [layer["name"] for layer in index["layers"]] == [node.name for node in graph.nodes]
    listed = {port["file"] for layer in index["layers"] for port in layer["ports"]}
    assert listed == {p.relative_to(folder).as_posix() for p in folder.rglob("*.hex")}
    for layer in index["layers"]:
        ports = port_words(folder, layer)
        for port in layer["ports"]:
            if port["value"] and port["format"] == "integer":
                data = graph.values[port["value"]].data
                expected = run[port["value"]] if data is None else data
                assert np.array_equal(ports[port["name"]].astype(np.int64), expected)
        for stage in layer["requantize"]:
            check_stage(stage, ports)
        if layer["operator"] == "fully_connected":
            check_products(ports)


def check_stage(stage: Any, ports: dict[str, np.ndarray]) -> None:
    """Requantize every line with the oracle of the rule that the index names."""
    if stage["rule"] not in RULES:
        return
    acc, code = ports[stage["accumulator"]].reshape(-1), ports[stage["code"]].reshape(-1)
    multiplier, shift = (ports[port].reshape(-1) for port in stage["factors"])
    rows = np.arange(acc.size) % multiplier.size
    if stage["select"]:
        rows = ports[stage["select"]].reshape(-1)
    assert acc.size == code.size
    lines = range(acc.size) if acc.size < 1000 else [*range(500), *range(acc.size - 500, acc.size)]
    for line in lines:
        row = rows[line]
        scaled = RULES[stage["rule"]](acc[line], multiplier[row], shift[row])
        clamped = min(max(scaled + stage["zero_point"], stage["qmin"]), stage["qmax"])
        assert clamped == code[line]


def check_products(ports: dict[str, np.ndarray]) -> None:
    """Form a fully connected layer's accumulators from the files alone."""
    x = ports["input0"] - ports["input0_zero_point"][0]
    w = ports["weights"] - ports["weights_zero_point"].reshape(-1, 1)
    sums = x.reshape(-1, w.shape[1]) @ w.T + ports.get("bias", 0)
    assert np.array_equal(sums.reshape(-1), ports["accumulator"].reshape(-1))


def test_index_names_widths_and_attributes(traced: Path) -> None:
    conv, add, table = index_of(traced)["layers"]
    ports = {port["name"]: port for port in conv["ports"]}
    assert (ports["weights"]["width"], ports["weights"]["signed"]) == (4, True)
    assert ports["weights"]["shape"] == [3, 3, 3, 2]
    assert ports["weights"]["scale"] == [0.125, 0.25, 0.0625]
    assert ports["bias"]["width"] == ports["accumulator"]["width"] == 32
    assert conv["attributes"]["padding"] == [1, 1, 1, 1]
    assert conv["requantize"][0]["rule"] == "half_even"
    assert [stage["stage"] for stage in add["requantize"]] == ["a", "b"]
    assert table["method"] == "table" and table["requantize"] == []


# ---- the folder ----


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_a_folder_with_content_is_kept(tmp_path: Path) -> None:
    graph = small()
    feed = hwsim.random_inputs(graph, 1)
    target = tmp_path / "trace"
    target.mkdir()
    hwsim.trace_rtl(graph, feed, target)  # an empty folder is nobody's
    before = contents(target)
    sentence = f"^trace folder '{target}' must not exist yet; overwrite it to replace$"
    with pytest.raises(InputError, match=sentence):
        hwsim.trace_rtl(graph, feed, target)
    hwsim.trace_rtl(graph, hwsim.random_inputs(graph, 2), target, overwrite=True)
    assert contents(target).keys() == before.keys() and contents(target) != before
    (target / "index.json").unlink()
    with pytest.raises(InputError, match="must hold index.json to be overwritten"):
        hwsim.trace_rtl(graph, feed, target, overwrite=True)


def test_an_interrupt_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = run_folder._write_through

    def interrupted(path: Path, data: bytes) -> None:
        if path.name == "index.json":
            raise KeyboardInterrupt
        written(path, data)

    monkeypatch.setattr(run_folder, "_write_through", interrupted)
    graph = small()
    with pytest.raises(KeyboardInterrupt):
        hwsim.trace_rtl(graph, hwsim.random_inputs(graph, 1), tmp_path / "trace")
    assert os.listdir(tmp_path) == []


def test_the_command_writes_and_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tmp_path / "conv.tflite"
    model.write_bytes(generate("CONV_2D", 3).model.to_bytes())

    def call(*words: str) -> tuple[int, str]:
        command = ["hwsim", "trace", str(model), "--random", "2", *words]
        monkeypatch.setattr("sys.argv", command)
        with pytest.raises(SystemExit) as left:
            main()
        return int(left.value.code or 0), capsys.readouterr().err

    out = str(tmp_path / "words")
    assert call("--format", "hex", "--out", out) == (0, "")
    status, error = call("--format", "hex", "--out", out)
    assert status == 2 and error.endswith("must not exist yet; --force replaces it\n")
    assert error.count("\n") == 1
    assert call("--format", "hex", "--out", out, "--force") == (0, "")
    assert call("--format", "vcd", "--out", out) == (
        2, "hwsim: --format must be npz or hex, not 'vcd'\n",
    )  # fmt: skip
    assert call("--out", str(tmp_path / "trace.npz")) == (0, "")


# ---- generated testbenches ----

needs_verilator = pytest.mark.skipif(
    bool({"verilator", "g++"} & set(MISSING)), reason="4 runs of testbenches need verilator, g++"
)
OTHER = """module requantize_up #(
  parameter RULE = 0, parameter ACC_BITS = 32, parameter MULTIPLIER_BITS = 32,
  parameter SHIFT_BITS = 6, parameter CODE_BITS = 8, parameter CODE_SIGNED = 1
) (
  input clk, input signed [ACC_BITS-1:0] acc, input signed [MULTIPLIER_BITS-1:0] multiplier,
  input signed [SHIFT_BITS-1:0] right_shift, input [CODE_BITS-1:0] zero_point,
  input [CODE_BITS-1:0] qmin, input [CODE_BITS-1:0] qmax, output [CODE_BITS-1:0] code
);
  requantize #(
    .RULE(4), .ACC_BITS(ACC_BITS), .MULTIPLIER_BITS(MULTIPLIER_BITS),
    .SHIFT_BITS(SHIFT_BITS), .CODE_BITS(CODE_BITS), .CODE_SIGNED(CODE_SIGNED)
  ) inner (
    .clk(clk), .acc(acc), .multiplier(multiplier), .right_shift(right_shift),
    .zero_point(zero_point), .qmin(qmin), .qmax(qmax), .code(code)
  );
endmodule
"""


def half_up_differs(folder: Path) -> int:
    """Count the lines of all requantizers that ties toward +infinity would change."""
    wrong = 0
    for layer in index_of(folder)["layers"]:
        ports = port_words(folder, layer)
        for stage in layer["requantize"]:
            multiplier, shift = (ports[port].reshape(-1) for port in stage["factors"])
            for line, acc in enumerate(ports[stage["accumulator"]].reshape(-1)):
                row = line % multiplier.size
                exact = Fraction(acc * multiplier[row]) / Fraction(2) ** (31 + shift[row])
                scaled = (exact + Fraction(1, 2)).__floor__() + stage["zero_point"]
                clamped = min(max(scaled, stage["qmin"]), stage["qmax"])
                wrong += clamped != ports[stage["code"]].reshape(-1)[line]
    return wrong


@needs_verilator
def test_testbenches_pass_a_right_requantizer(traced: Path, tmp_path: Path) -> None:
    status, text = run_testbench(traced, tmp_path / "made", "run_all", [RTL / "requantize.v"])
    assert (status, text.count("PASS")) == (0, 4), text  # conv, both operands of add, all


@needs_verilator
def test_testbenches_fail_a_wrong_tie(traced: Path, tmp_path: Path) -> None:
    (tmp_path / "other.v").write_text(OTHER)
    known = half_up_differs(traced)
    assert known > 0
    sources = [RTL / "requantize.v", tmp_path / "other.v"]
    define = "HWSIM_REQUANTIZE=requantize_up"
    status, text = run_testbench(traced, tmp_path / "made", "run_all", sources, define)
    assert status != 0 and f"FAIL run_all: {known} mismatches" in text, text


@needs_verilator
@pytest.mark.parametrize("right", [True, False])
def test_stream_testbench(right: bool, traced: Path, tmp_path: Path) -> None:
    (folder,) = (layer["folder"] for layer in index_of(traced)["layers"][2:])
    lines = (traced / folder / "table.hex").read_text().splitlines()
    used = (traced / folder / "input0.hex").read_text().splitlines()
    if not right:
        code = (int(used[0], 16) + 128) % 256
        lines[code] = f"{int(lines[code], 16) ^ 1:02x}"
    (tmp_path / "rom.hex").write_text("\n".join(lines) + "\n")
    defines = ("HWSIM_LAYER=table_layer", f'TABLE_HEX="{tmp_path / "rom.hex"}"')
    status, text = run_testbench(
        traced, tmp_path / "made", f"tb_{folder}_stream", [RTL / "table_layer.v"], *defines
    )
    if right:
        assert status == 0 and f"PASS tb_{folder}_stream: {len(used)} words" in text, text
    else:
        assert status != 0 and f"{used.count(used[0])} of {len(used)} words differ" in text, text


def test_profiles_without_integer_multipliers_have_no_requantizer_bench(tmp_path: Path) -> None:
    graph = read_tflite(generate("FULLY_CONNECTED", 5).model.to_bytes(), Path("fc.tflite"))
    rule = PROFILES["tflite_ref"].rule(Op.FULLY_CONNECTED, 8)
    assert not rule.requant.is_fixed
    folder = hwsim.trace_rtl(graph, hwsim.random_inputs(graph, 1), tmp_path / "trace")
    (layer,) = index_of(folder)["layers"]
    assert layer["requantize"][0]["testbench"] is None
    ratio = next(port for port in layer["ports"] if port["name"] == "ratio")
    assert (ratio["format"], ratio["width"]) == ("binary64", 64)
