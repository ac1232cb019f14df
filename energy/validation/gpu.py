"""Tensor-core latencies against HAWQ-V3's measurement: ResNets on a T4, INT8 and INT4, batch 8."""

import csv
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hwsim.energy.gpu import kernel_s
from hwsim.energy.model import cost
from hwsim.platform import GpuPlatform
from hwsim.quantity import Quantity
from hwsim.tables import Option
from hwsim.workload import Layer, Tensor, Unit, Work

from .row import Row, Target
from .shipped import shipped_gpu, text_of

FILE = "hawq_t4.json"
BATCH = 8
W8, W4 = Option(8, 8), Option(4, 4)
_BLOCKS = {"resnet18": (2, 2, 2, 2), "resnet50": (3, 4, 6, 3)}


def _against(what: str, network: str) -> str:
    return f"HAWQ-V3 T4 {network}, {what}"


TARGETS = (
    Target(
        _against("INT4/INT8 per layer", "resnet18"),
        "mean |difference| of the ratio at most 0.08, fitted on the other network",
        mean_difference=0.08,
    ),
    Target(
        _against("INT4/INT8 per layer", "resnet50"),
        "mean |difference| of the ratio at most 0.10, fitted on the other network",
        mean_difference=0.10,
    ),
)


def _networks(data: Path) -> Mapping[str, Any]:
    path = data / FILE
    if not path.is_file():
        return {}
    found: Mapping[str, Any] = json.loads(path.read_text("utf-8"))["networks"]
    return {name: network for name, network in found.items() if name in _BLOCKS}


def layer_of(network: str, row: Mapping[str, Any]) -> Layer:
    """Return a measured convolution as a GEMM of batch 8; its width follows from its name."""
    name = str(row["name"])
    n = 64 << (int(name.removeprefix("stage")[0]) - 1)
    if network == "resnet50" and name.endswith(("convbn3", "identity_convbn")):
        n *= 4
    weights = int(row["params"])
    k, m = weights // n, BATCH * int(row["macs"]) // weights
    return Layer(name, Work.CONV, m * n * k, 1, m, n, k, (1, 1), (1, 1, m, n), weights, n)


def fitted_without(platform: GpuPlatform, network: str) -> GpuPlatform:
    """Return the T4 with the constants that the other ResNet alone gives."""
    for fit in csv.DictReader(text_of("nvidia_t4_fits.csv").splitlines()):
        if fit["left_out"] == network:
            return with_constants(
                platform,
                {8: float(fit["efficiency_int8"]), 4: float(fit["efficiency_int4"])},
                float(fit["epilogue"]),
                float(fit["chained"]),
            )
    return platform


def with_constants(
    platform: GpuPlatform, efficiency: Mapping[int, float], epilogue: float, chained: float
) -> GpuPlatform:
    """Return a GPU with other fitted constants, efficiencies by native width."""

    def at(quantity: Quantity, value: float) -> Quantity:
        return quantity.model_copy(update={"value": value})

    precision = []
    for row in platform.precision:
        assert row.efficiency is not None
        other = at(row.efficiency, efficiency[row.native_bits])
        precision.append(row.model_copy(update={"efficiency": other}))
    cores = platform.cores.model_copy(
        update={
            "epilogue": at(platform.cores.epilogue, epilogue),
            "chained": at(platform.cores.chained, chained),
        }
    )
    return platform.model_copy(update={"precision": precision, "cores": cores})


def t4() -> GpuPlatform:
    """Return the shipped T4."""
    return shipped_gpu("nvidia_t4")


def ratios(data: Path) -> Iterator[Row]:
    """Return INT4 over INT8 time of every layer alone, with the constants of the other network.

    The last rows are baselines: peak rates alone say 0.5, and the other network's mean ratio.
    """
    networks = _networks(data)
    for name, network in networks.items():
        platform = fitted_without(t4(), name)
        others = [
            float(row["latency_int4"]) / float(row["latency_int8"])
            for other in networks
            if other != name
            for row in networks[other]["layers"]
        ]
        baselines = {"peak rates": 0.5}
        if others:
            baselines["other's mean"] = sum(others) / len(others)
        for row in network["layers"]:
            layer = layer_of(name, row)
            measured = float(row["latency_int4"]) / float(row["latency_int8"])
            predicted = kernel_s(platform, layer, W4) / kernel_s(platform, layer, W8)
            case = f"{row['index']} {row['name']}"
            yield Row(_against("INT4/INT8 per layer", name), case, measured, predicted, "1")
            for what, value in baselines.items():
                against = _against(f"INT4/INT8 by {what} (base)", name)
                yield Row(against, case, measured, value, "1")


def layers(data: Path) -> Iterator[Row]:
    """Return the time of every layer alone, with the constants of the other network."""
    for name, network in _networks(data).items():
        platform = fitted_without(t4(), name)
        for row in network["layers"]:
            for widths, key in ((W8, "latency_int8"), (W4, "latency_int4")):
                predicted = 1e3 * kernel_s(platform, layer_of(name, row), widths)
                case = f"{row['index']} {row['name']} {widths}"
                measured = float(row[key])
                yield Row(_against("layers alone", name), case, measured, predicted, "ms")


def end_to_end(data: Path) -> Iterator[Row]:
    """Return network times, with all constants, `chained` too, of the other network."""
    for name, network in _networks(data).items():
        platform = fitted_without(t4(), name)
        for widths, key in ((W8, "w8a8"), (W4, "w4a4")):
            if key not in network["end_to_end_ms_batch_8"]:
                continue
            predicted = 1e3 * network_s(platform, name, network["layers"], widths)
            measured = float(network["end_to_end_ms_batch_8"][key])
            yield Row(_against("end to end", name), str(widths), measured, predicted, "ms")


def network_s(
    platform: GpuPlatform, name: str, rows: list[Mapping[str, Any]], widths: Option
) -> float:
    """Return the time of a network: the measured layers, and what they leave out.

    The first convolution and the last layer stay at 8 bits, and each residual sum is a kernel of
    its own on 32-bit operands. That part does not shrink with the bits: it is the constant of the
    affine map from the sum of the layers to the network's time.
    """
    found = cost(_units(name, rows), platform, widths, [widths]).total.latency_s
    assert found is not None
    return found


def _units(name: str, rows: list[Mapping[str, Any]]) -> list[Unit]:
    def fixed(what: str, m: int, n: int, k: int) -> Unit:
        layer = Layer(what, Work.CONV, m * n * k, 1, m, n, k, (1, 1), (1, 1, m, n), n * k, n)
        return Unit(what, (layer,), (), None, False)

    wide = 4 if name == "resnet50" else 1
    units = [fixed("first", BATCH * 112 * 112, 64, 147)]
    for row in rows:
        layer = layer_of(name, row)
        # A 3x3 window reads each pixel once from memory; its im2col rows never leave the chip.
        taps = 9 if layer.k % 9 == 0 else 1
        image = Tensor(f"{layer.node}:in", layer.m * layer.k // taps, 1, 1)
        units.append(Unit(layer.node, (layer,), (image,), None, True))
    for stage, blocks in enumerate(_BLOCKS[name]):
        elements = BATCH * (56 >> stage) ** 2 * (64 << stage) * wide
        for block in range(blocks):
            what = f"sum {stage + 1}.{block + 1}"
            parts = tuple(
                Tensor(f"{what}:{part}", elements, part != "out", part == "out", 32)
                for part in ("a", "b", "out")
            )
            layer = Layer(what, Work.ELEMENTWISE, 0, 1, 0, 0, 0, (1, 1), (1, 1, 1, elements), 0, 0)
            units.append(Unit(what, (layer,), parts, None, False))
    return [*units, fixed("last", BATCH, 1000, 512 * wide)]
