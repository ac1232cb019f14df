"""The Eyeriss chip on AlexNet: time, traffic and power of each layer.

Time and traffic follow from the published mapping with nothing fitted. Power has two constants,
fitted on the layers that ship beside the platform, never on the layer that is predicted.

The buffer traffic of CONV3 contradicts its printed mapping (q = 4, r = 1, t = 4: 69.2 MB). The
measured 50.2 MB are those of q = 3, r = 2, t = 2, the mapping printed for CONV4 and CONV5, which
also meets its time better; the printed one is used all the same.
"""

import csv
from collections.abc import Iterator
from pathlib import Path

from hwsim.energy.arrays import row_stationary_array
from hwsim.energy.gated_power import fit, read_samples, without
from hwsim.energy.row_stationary import (
    Convolution,
    Mapping,
    active_elements,
    buffer_words,
    cycles,
    dram_words,
    input_bytes,
    run_length_ratio,
    sum_bytes,
)
from hwsim.errors import PlatformError
from hwsim.platform_array import RowStationaryArray

from .row import Row, Target
from .shipped import shipped_npu, text_of

LATENCY = "Eyeriss processing latency"
DRAM = "Eyeriss DRAM traffic"
DRAM_TOTAL = "Eyeriss DRAM traffic, total"
POWER = "Eyeriss power"
POWER_BASELINE = "Eyeriss power, mean of the other layers"
BUFFER = "Eyeriss global buffer traffic"
MAPPING = "Eyeriss active elements, buffer bytes"

TARGETS = (
    Target(LATENCY, "each within 8 %", worst=0.08),
    Target(DRAM, "each within 15 %", worst=0.15),
    Target(DRAM_TOTAL, "within 5 %", worst=0.05),
    Target(POWER, "each within 15 %, layer left out", worst=0.15),
    Target(MAPPING, "0 difference", worst=0.0),
)


def rows(data: Path) -> Iterator[Row]:
    """Yield every layer's figures; the two files are joined by layer."""
    measured_path = data / "eyeriss_alexnet.csv"
    mapping_path = data / "eyeriss_alexnet_mapping.csv"
    if not (measured_path.is_file() and mapping_path.is_file()):
        return
    platform = shipped_npu("eyeriss")
    if not isinstance(platform.array, RowStationaryArray):
        raise PlatformError("eyeriss: array.dataflow must be row_stationary, not another")
    links = row_stationary_array(platform.array).links
    clock = platform.clock.si
    samples = read_samples(text_of("eyeriss_power.csv"))
    mapped = {record["layer"]: record for record in _read(mapping_path)}
    records = [record for record in _read(measured_path) if record["layer"] in mapped]
    totals = [0.0, 0.0]
    for position, record in enumerate(records):
        name = record["layer"]
        layer, mapping = _layer(mapped[name], int(record["batch"]))
        yield from _mapping_rows(mapped[name], layer, mapping)
        time = cycles(layer, mapping, links) / clock
        yield Row(LATENCY, name, float(record["processing_latency_ms"]), 1e3 * time, "ms")

        zeros = float(record["ifmap_zero_fraction"])
        # The next layer's input is this output, pooled where sizes differ; the last has no next.
        after = records[min(position + 1, len(records) - 1)]
        words = dram_words(layer, mapping, int(record["ifmap_elements"]))
        coded = (
            words.inputs * run_length_ratio(zeros)
            + words.filters
            + words.outputs * run_length_ratio(float(after["ifmap_zero_fraction"]))
        )
        measured = float(record["dram_accesses_mb"])
        totals = [totals[0] + measured, totals[1] + 2e-6 * coded]
        yield Row(DRAM, name, measured, 2e-6 * coded, "MB")
        yield Row(
            BUFFER, name, float(record["global_buffer_accesses_mb"]),
            2e-6 * buffer_words(layer, mapping), "MB",
        )  # fmt: skip

        others = without(samples, name)
        power = fit(others).at(layer.macs * (1 - zeros) / time)
        mean = sum(sample.power_w for sample in others) / len(others)
        yield Row(POWER, name, float(record["power_mw"]), 1e3 * power, "mW")
        yield Row(POWER_BASELINE, name, float(record["power_mw"]), 1e3 * mean, "mW")
    if records:
        yield Row(DRAM_TOTAL, "all layers", totals[0], totals[1], "MB")


def _read(path: Path) -> list[dict[str, str]]:
    """Return the rows of a file."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _layer(record: dict[str, str], batch: int) -> tuple[Convolution, Mapping]:
    """Return a layer and its published mapping."""
    layer = Convolution(
        batch=batch,
        input_size=int(record["ifmap_size"]),
        kernel_height=int(record["filter_size"]),
        kernel_width=int(record["filter_size"]),
        output_height=int(record["ofmap_size"]),
        output_width=int(record["ofmap_size"]),
        channels=int(record["channels"]),
        filters=int(record["filters"]),
        stride=int(record["stride"]),
        groups=int(record["groups"]),
    )
    m, n, e, p, q, r, t = (int(record[letter]) for letter in "mnepqrt")
    return layer, Mapping(m, n, e, p, q, r, t)


def _mapping_rows(record: dict[str, str], layer: Convolution, mapping: Mapping) -> Iterator[Row]:
    """Yield what follows from the mapping alone."""
    name = record["layer"]
    for column, predicted, unit in (
        ("active_pes_r_e_r_t", active_elements(layer, mapping), "element"),
        ("glb_ifmap_bytes", input_bytes(layer, mapping), "byte"),
        ("glb_psum_bytes", sum_bytes(layer, mapping), "byte"),
    ):
        yield Row(MAPPING, f"{name} {column}", float(record[column]), float(predicted), unit)
