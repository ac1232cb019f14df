"""Power of an array that skips multiplications by zero: a fixed part and a part per product."""

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Sample:
    """A measured layer.

    Args:
        layer: Its name.
        products: Multiply-accumulates whose input is not zero, a second.
        power_w: Measured power.
    """

    layer: str
    products: float
    power_w: float


@dataclass(frozen=True, slots=True)
class GatedPower:
    """P = fixed + energy x products a second.

    Args:
        fixed_w: Clock, control, buffers and leakage.
        energy_j: Energy of one product that is not gated.
    """

    fixed_w: float
    energy_j: float

    def at(self, products: float) -> float:
        """Return the power in W at so many products a second."""
        return self.fixed_w + self.energy_j * products


def fit(samples: Sequence[Sample]) -> GatedPower:
    """Return the least-squares line; two constants."""
    rates = np.array([sample.products for sample in samples])
    powers = np.array([sample.power_w for sample in samples])
    energy, fixed = np.polyfit(rates / 1e9, powers, 1)
    return GatedPower(fixed_w=float(fixed), energy_j=float(energy) * 1e-9)


def without(samples: Iterable[Sample], layer: str) -> list[Sample]:
    """Return the samples of all other layers."""
    return [sample for sample in samples if sample.layer != layer]


def read_samples(text: str) -> list[Sample]:
    """Return the measured layers of a calibration table.

    Columns: layer, macs, ifmap_zero_fraction, processing_latency_ms, power_mw.
    """
    return [
        Sample(
            row["layer"],
            float(row["macs"])
            * (1 - float(row["ifmap_zero_fraction"]))
            / (float(row["processing_latency_ms"]) / 1e3),
            float(row["power_mw"]) / 1e3,
        )
        for row in csv.DictReader(text.splitlines())
    ]
