import copy
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

import hwsim.platforms
from hwsim.errors import PlatformError
from hwsim.platform import json_schema, parse_platform, quantities
from hwsim.platforms import load_platform, names

FOLDER = Path(hwsim.platforms.__file__).parent
SHIPPED = (
    "ethos_u55_128", "ethos_u55_256", "ethos_u55_32", "ethos_u55_64", "eyeriss", "gap9",
    "horowitz_ratio", "ndp120", "nvidia_a100", "nvidia_h100", "nvidia_jetson_orin_nano",
    "nvidia_t4", "pynq_z2", "stm32l4r5", "stm32l4r5_tflm", "tpu_v1",
    "zcu104",
)  # fmt: skip


def table(name: str) -> dict[str, Any]:
    return tomllib.loads((FOLDER / f"{name}.toml").read_text("utf-8"))


def test_the_shipped_platforms_are_named() -> None:
    assert names() == SHIPPED


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_number_has_a_source_and_assumptions_a_range(name: str) -> None:
    platform = load_platform(name)
    numbers = quantities(platform)
    assert platform.name == name
    assert numbers
    for path, quantity in numbers.items():
        assert len(quantity.source) > 10, path
        assert not re.search(r"/work|/home|shared/reference", quantity.source), path
        if quantity.mark in ("M", "A"):
            assert quantity.low is not None and quantity.high is not None, path


@pytest.mark.parametrize("name", SHIPPED)
def test_no_bare_number_stands_in_a_shipped_file(name: str) -> None:
    labels = {"schema_version", "accumulator_bits", "reference_bits"}

    def visit(node: Any, path: str, inside: bool) -> None:
        if isinstance(node, dict):
            for key, value in node.items():
                visit(value, key, "source" in node and "unit" in node)
        elif isinstance(node, list):
            for value in node:
                visit(value, path, inside)
        elif isinstance(node, int | float) and not isinstance(node, bool):
            assert inside or path in labels or path.endswith("_bits"), path

    visit(table(name), "", False)


def changed(name: str, path: str, value: Any) -> dict[str, Any]:
    """Return a shipped table with one entry replaced; None removes it."""
    root = copy.deepcopy(table(name))
    steps = [int(step) if step.isdigit() else step for step in path.split(".")]
    node: Any = root
    for step in steps[:-1]:
        node = node[step]
    if value is None:
        del node[steps[-1]]
    else:
        node[steps[-1]] = value
    return root


BAD = [
    ("clock.unit", None, "clock.unit must be given, not missing"),
    ("clock.source", None, "clock.source must be given, not missing"),
    ("clock.source", "", "clock.source must be a non-empty text, not ''"),
    ("clock.source", "  ", "clock.source must be a publication, or a tool with its version, "
     "not '  '"),
    ("clock.unit", "GHz", "clock.unit must be 'MHz', not 'GHz'"),
    ("clock.value", "fast", "clock.value must be a number, not 'fast'"),
    ("clock.value", float("nan"), "clock.value must be a positive number, not nan"),
    ("clock.value", float("inf"), "clock.value must be a positive number, not inf"),
    ("clock", 500, "clock must be a table of value, unit and source, not 500"),
    ("clock.volts", 1, "clock.volts must be a key that the schema knows, not 'volts'"),
    ("clock.mark", "X", "clock.mark must be 'V', 'R', 'M', 'D' or 'A', not 'X'"),
    (
        "clock.mark",
        "M",
        "clock.mark must be given with low and high for a recalled (M) or assumed (A) figure, "
        "not 'M'",
    ),
    ("clock.low", 900.0, "clock.low must be at most the value, not 900.0"),
    ("clock.high", 9.0, "clock.high must be at least the value, not 9.0"),
    (
        "precision.0.energy_per_mac.value",
        -0.4,
        "precision[0].energy_per_mac.value must be a positive number, not -0.4",
    ),
    ("precision.0.weight_bits", [], "precision[0].weight_bits must be a non-empty list, not []"),
    ("precision.0.weight_bits.0", 0, "precision[0].weight_bits[0] must be at least 1, not 0"),
    ("precision.0.weight_bits.0", 33, "precision[0].weight_bits[0] must be at most 32, not 33"),
    ("precision", [], "precision must be a non-empty list, not []"),
    ("memory.1.name", "sram", "memory must be unique level names, not 'sram, sram'"),
    ("memory.0.name", "S RAM", "memory[0].name must be lower-case letters, digits and underscores, "
     "not 'S RAM'"),
    ("memory.0.capacity", None, "memory[0].capacity must be given for a level on the chip, "
     "not missing"),
    ("memory.0.holds", ["weights"], "memory must be at least one level that holds activations, "
     "not none"),
    ("memory.0.on_chip", "yes", "memory[0].on_chip must be true or false, not 'yes'"),
    ("array.micro_block_width.value", 1.5, "array.micro_block_width.value must be a whole number, "
     "not 1.5"),
    ("color", "red", "color must be a key that the schema knows, not 'color'"),
    ("kind", "cpu", "kind must be one of npu, mcu, gpu, fpga, analytic, not 'cpu'"),
    ("kind", None, "kind must be one of npu, mcu, gpu, fpga, analytic, not missing"),
    ("schema_version", 2, "schema_version must be 1, not 2"),
    ("array", None, "array must be given, not missing"),
]  # fmt: skip


BAD_FPGA = [
    ("dataflow.requantizer", "float", "dataflow.requantizer must be 'dyadic' or 'power_of_two', "
     "not 'float'"),
    ("toggle_energy.unit", "W", "toggle_energy.unit must be 'fJ/LUT/cycle', not 'W'"),
    ("dsp_block.wide_bits", 1, "dsp_block.wide_bits must be at least 2, not 1"),
    ("dataflow", None, "dataflow must be given, not missing"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "value", "sentence"), BAD_FPGA)
def test_a_broken_fpga_is_refused_in_one_sentence(path: str, value: Any, sentence: str) -> None:
    with pytest.raises(PlatformError) as caught:
        parse_platform(changed("pynq_z2", path, value), "mine.toml")
    assert str(caught.value) == f"mine.toml: {sentence}"


@pytest.mark.parametrize(("path", "value", "sentence"), BAD, ids=lambda value: str(value)[:40])
def test_a_broken_description_is_refused_in_one_sentence(
    path: str, value: Any, sentence: str
) -> None:
    with pytest.raises(PlatformError) as caught:
        parse_platform(changed("ethos_u55_128", path, value), "mine.toml")
    assert str(caught.value) == f"mine.toml: {sentence}"


def test_an_unknown_name_lists_what_exists() -> None:
    with pytest.raises(PlatformError) as caught:
        load_platform("tpu")
    assert str(caught.value) == (
        f"platform must be one of {', '.join(SHIPPED)} or the path of a .toml file, not 'tpu'"
    )


def test_a_file_of_ones_own_is_read(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes((FOLDER / "pynq_z2.toml").read_bytes())
    assert load_platform(path) == load_platform("pynq_z2") == load_platform(str(path))


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"kind = ", "bad.toml must be TOML in UTF-8: Invalid value (at end of document)"),
        (
            b"\xff",
            "bad.toml must be TOML in UTF-8: 'utf-8' codec can't decode byte 0xff in position 0: "
            "invalid start byte",
        ),
        (b"#" * 1_000_001, "bad.toml must be at most 1000000 bytes, not more than that"),
        (b"", "bad.toml: kind must be one of npu, mcu, gpu, fpga, analytic, not missing"),
    ],
    ids=["syntax", "encoding", "size", "empty"],
)
def test_a_file_that_is_no_description_is_refused(
    tmp_path: Path, content: bytes, sentence: str
) -> None:
    path = tmp_path / "bad.toml"
    path.write_bytes(content)
    with pytest.raises(PlatformError) as caught:
        load_platform(path)
    assert str(caught.value) == sentence


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PlatformError) as caught:
        load_platform(tmp_path / "none.toml")
    assert str(caught.value) == "none.toml must be a readable file, not 'No such file or directory'"


def test_the_schema_states_every_unit() -> None:
    text = str(json_schema())
    for unit in ("pJ/MAC", "pJ/bit", "MHz", "GB/s", "KiB", "LUT", "BRAM_18K"):
        assert f"'x-unit': '{unit}'" in text
