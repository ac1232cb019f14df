"""Cycles of Arm Vela 5.2.0 on Ethos-U55, and the size of its encoded weights.

Nothing is fitted: the engine's numbers stand in the platform files. The encoded size of a
network's weights is an input; its split over the layers follows the weights of the model file,
looked for in $HWSIM_MODELS, else beside the data. Without the file, shapes come from
mlperf_tiny_layers.csv and every layer is compressed alike.
"""

import csv
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib import resources
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hwsim.energy.block_engine import engine_of
from hwsim.energy.block_schedule import schedule
from hwsim.energy.encoded_weights import weight_codes, with_encoded_weights
from hwsim.energy.npu import rows
from hwsim.formats.tflite import read_tflite
from hwsim.partition import workload
from hwsim.platform import NpuPlatform
from hwsim.tables import Option
from hwsim.workload import Layer, Tensor, Unit, Work

from .row import Row, Target
from .shipped import shipped_npu

CYCLES = "Vela 5.2.0 cycles, default core"
UNITS = "Vela 5.2.0 cycles, table of units"
ENCODED = "Vela 5.2.0 encoded weights"
TARGETS = (Target(CYCLES, "each within 15 %, mean within 7 %", worst=0.15, mean=0.07),)

_FILE = "vela_cycles.csv"
_LAYERS = "mlperf_tiny_layers.csv"
_SYSTEM = ("Ethos_U55_High_End_Embedded", "Shared_Sram")
_WORK = {
    "CONV_2D": Work.CONV,
    "DEPTHWISE_CONV_2D": Work.DEPTHWISE,
    "FULLY_CONNECTED": Work.FULLY_CONNECTED,
    "AVERAGE_POOL_2D": Work.POOL,
    "MAX_POOL_2D": Work.POOL,
    "MEAN": Work.REDUCE,
    "SOFTMAX": Work.SOFTMAX,
    "ADD": Work.ELEMENTWISE,
}


@dataclass(frozen=True, slots=True)
class _Network:
    """A network and, where its file is there, the codes of its weights by node."""

    units: tuple[Unit, ...]
    codes: dict[str, NDArray[np.int64]]


def cycles(data: Path) -> Iterator[Row]:
    """Yield the cycles of whole networks, encoded weight size given."""
    for row, platform, network in _cases(data):
        layers = _with_stated_size(row, platform, network)
        engine = engine_of(platform, 0)
        predicted = sum(time.cycles for time in schedule(engine, layers))
        case = f"{row['network']} {row['accelerator']}"
        yield Row(CYCLES, case, float(row["cycles_total"]), predicted, "cycles")


def additive_cycles(data: Path) -> Iterator[Row]:
    """Yield the same by the sum of units, which cannot hide weights behind a neighbor."""
    for row, platform, network in _cases(data):
        units = [_unit(layer) for layer in _with_stated_size(row, platform, network)]
        priced = [rows(platform, unit, [Option(8, 8)], 0)[0] for unit in units]
        predicted = sum(cost.latency_s or 0.0 for cost in priced) * platform.clock.si
        case = f"{row['network']} {row['accelerator']}"
        yield Row(UNITS, case, float(row["cycles_total"]), predicted, "cycles")


def encoded(data: Path) -> Iterator[Row]:
    """Yield the encoded size of the weights of networks whose model file is there."""
    for row, platform, network in _cases(data):
        if not network.codes:
            continue
        units = with_encoded_weights(network.units, platform, network.codes)
        bits = sum(layer.encoded_weight_bits or 0 for unit in units for layer in unit.layers)
        case = f"{row['network']} {row['accelerator']}"
        yield Row(ENCODED, case, float(row["encoded_weight_bytes"]), bits / 8, "B")


def _cases(data: Path) -> Iterator[tuple[dict[str, str], NpuPlatform, _Network]]:
    """Yield every row of the default compiler core with its platform and network."""
    path = data / _FILE
    if not path.is_file():
        return
    with path.open(encoding="utf-8", newline="") as file:
        cases = list(csv.DictReader(file))
    given = os.environ.get("HWSIM_MODELS")
    for row in cases:
        if row["compiler_core"] != "default":
            continue
        if (row["system_config"], row["memory_mode"]) != _SYSTEM:
            continue
        platform = _platform(row["accelerator"])
        network = _network(data, given, row["network"], row["model_file"])
        if platform is not None and network is not None:
            yield row, platform, network


@lru_cache(maxsize=8)
def _platform(accelerator: str) -> NpuPlatform | None:
    """Return the shipped platform of an accelerator, None for one that has no file."""
    name = f"ethos_{accelerator.replace('-', '_')}"
    is_shipped = resources.files("hwsim.platforms").joinpath(f"{name}.toml").is_file()
    return shipped_npu(name) if is_shipped else None


def _with_stated_size(row: dict[str, str], platform: NpuPlatform, network: _Network) -> list[Layer]:
    """Return a network's layers, their encoded sizes scaled to the stated total."""
    units = with_encoded_weights(network.units, platform, network.codes)
    layers = [layer for unit in units for layer in unit.layers]
    sizes = [
        layer.encoded_weight_bits
        if layer.encoded_weight_bits is not None
        else 8 * layer.weight_elements
        for layer in layers
    ]
    scale = 8 * int(row["encoded_weight_bytes"]) / sum(sizes)
    return [
        replace(layer, encoded_weight_bits=round(size * scale))
        for layer, size in zip(layers, sizes, strict=True)
    ]


@lru_cache(maxsize=16)
def _network(data: Path, given: str | None, task: str, file: str) -> _Network | None:
    """Return a network from its model file, else from the list of its layers.

    Args:
        data: The folder of reference data.
        given: The folder of models; the one beside the data, or beside the project, if None.
        task: The network's name in the list of layers.
        file: The model's file name, in any folder below.
    """
    folders = [Path(given)] if given else [data.parents[1] / "models", Path("../shared/models")]
    for folder in folders:
        found = sorted(folder.rglob(file)) if folder.is_dir() else []
        if found:
            graph = read_tflite(found[0].read_bytes(), found[0])
            return _Network(workload(graph), weight_codes(graph))
    layers = _listed_layers(data, task)
    return _Network(tuple(_unit(layer) for layer in layers), {}) if layers else None


def _unit(layer: Layer) -> Unit:
    """Return a unit of one layer and the tensor that it makes."""
    tensor = Tensor(layer.node, layer.out_elements, 1, 1)
    return Unit(layer.node, (layer,), (tensor,), Option(8, 8))


def _listed_layers(data: Path, task: str) -> list[Layer]:
    """Return the layers of a network in the list of MLPerf Tiny layers."""
    path = data / _LAYERS
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        listed = [row for row in csv.DictReader(file) if row["task"] == task]
    kept = [row for row in listed if row["operator"] in _WORK]
    return [_layer(kept, position) for position in range(len(kept))]


def _layer(listed: Sequence[dict[str, str]], position: int) -> Layer:
    """Return one listed layer; the first reads and the last makes a tensor of the border."""
    row = listed[position]
    work = _WORK[row["operator"]]
    out_shape = tuple(int(size) for size in row["out_shape"].split("x"))
    after = listed[position + 1]["operator"] if position + 1 < len(listed) else "OUTPUT"
    return Layer(
        node=f"{row['task']}_{row['index']}",
        work=work,
        macs=int(row["macs"]),
        groups=out_shape[-1] if work is Work.DEPTHWISE else 1,
        m=int(row["gemm_m"] or 1),
        n=int(row["gemm_n"] or 1),
        k=int(row["gemm_k"] or 1),
        kernel=(int(row["kernel_h"] or 1), int(row["kernel_w"] or 1)),
        out_shape=out_shape,
        weight_elements=int(row["weights"]),
        bias_elements=int(row["biases"]),
        in_shape=tuple(int(size) for size in row["in_shape"].split("x")),
        stride=(int(row["stride_h"] or 1), int(row["stride_w"] or 1)),
        order=int(row["index"]),
        linear_in=position == 0,
        linear_out=after in ("SOFTMAX", "OUTPUT"),
    )
