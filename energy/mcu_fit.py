"""Fit what a chip's published runs say about it: at most three coefficients, never more.

Power is a mean and an exponent: nearly constant on a processor, rising with the MACs per second
on a wide engine. Cost from the layers alone is a cost per MAC of three kinds of operators
(convolution; depthwise or narrow convolution; fully connected). Four networks cannot tell three
costs apart when one is left out: keyword spotting and visual wake words mix convolutions alike,
and only anomaly detection is fully connected. So the logarithms of the costs have a normal prior,
the population of other chips.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hwsim.workload import Layer

from .mcu import kernel_work

_KIND = {
    "conv": 0, "narrow_conv": 1, "depthwise": 1, "fully_connected": 2, "matmul": 2, "recurrent": 2,
}  # fmt: skip
_STEPS = 100

Vector = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class PowerLaw:
    """Power of a chip while it computes: `watts * (rate / at_rate) ** exponent`.

    Args:
        watts: Geometric mean of the fitted powers.
        at_rate: Geometric mean of their MACs per second.
        exponent: 0 where power is constant.
    """

    watts: float
    at_rate: float
    exponent: float

    def at(self, rate: float) -> float:
        """Return the power in W at a number of MACs per second."""
        return float(self.watts * (rate / self.at_rate) ** self.exponent)


def fit_power(
    watts: Sequence[float], rates: Sequence[float], noise: float = 0.1, spread: float = 0.15
) -> PowerLaw:
    """Return the power law of a chip's runs.

    Args:
        watts: By run.
        rates: By run, MACs per second.
        noise: Standard deviation of the logarithm of a power.
        spread: That of the exponent around 0, before any run is seen: a few close rates tell
            nothing about it.
    """
    power, rate = np.log(np.asarray(watts)), np.log(np.asarray(rates))
    apart = rate - rate.mean()
    exponent = apart @ (power - power.mean()) / (apart @ apart + (noise / spread) ** 2)
    return PowerLaw(float(np.exp(power.mean())), float(np.exp(rate.mean())), float(exponent))


def macs_by_kind(layers: Sequence[Layer]) -> Vector:
    """Return the MACs of convolutions, of depthwise and narrow ones, and of matrices."""
    found = np.zeros(3)
    for layer in layers:
        kind = kernel_work(layer)
        if kind is not None:
            found[_KIND[kind]] += layer.macs
    return found


@dataclass(frozen=True, slots=True)
class Prior:
    """A normal distribution of the logarithms of the three costs per MAC.

    Args:
        mean: Three logarithms.
        covariance: 3 x 3.
    """

    mean: Vector
    covariance: Vector

    @classmethod
    def of(cls, rates: Mapping[str, Sequence[Sequence[float]]], spread: float = 0.1) -> "Prior":
        """Return the distribution over chips; systems on one chip share its weight.

        Args:
            rates: By chip, the three costs of each of its systems.
            spread: Standard deviation (of a logarithm) that is added to every direction.
        """
        logs, weights = [], []
        for systems in rates.values():
            for row in systems:
                logs.append(np.log(np.asarray(row, np.float64)))
                weights.append(1 / np.sqrt(len(systems)))
        table, weight = np.array(logs), np.array(weights) / sum(weights)
        mean = weight @ table
        apart = table - mean
        return cls(mean, (apart.T * weight) @ apart + spread**2 * np.eye(3))


def fit_costs(
    macs: Sequence[Vector], observed: Sequence[float], prior: Prior, noise: float = 0.1
) -> Vector:
    """Return the three costs per MAC that networks and a prior imply.

    Minimizes the squared logarithmic errors over `noise` plus the prior's quadratic form.

    Args:
        macs: By network, MACs of the three kinds.
        observed: By network, the measured total: cycles, seconds or joules.
        prior: In the same unit per MAC.
        noise: Standard deviation of the logarithm of an observation.

    Method: Gauss-Newton with halved steps.
    """
    table, target = np.array(macs), np.log(np.asarray(observed, np.float64))
    precision = np.linalg.inv(prior.covariance)

    def residual(logs: Vector) -> Vector:
        return np.asarray((np.log(table @ np.exp(logs)) - target) / noise)

    def loss(logs: Vector) -> float:
        errors, apart = residual(logs), logs - prior.mean
        return float(errors @ errors + apart @ precision @ apart)

    logs = prior.mean.copy()
    for _ in range(_STEPS):
        shares = table * np.exp(logs)
        slope = shares / shares.sum(axis=1, keepdims=True) / noise
        gradient = slope.T @ residual(logs) + precision @ (logs - prior.mean)
        step = np.linalg.solve(slope.T @ slope + precision, gradient)
        size, before = 1.0, loss(logs)
        while size > 1e-9 and loss(logs - size * step) > before:
            size /= 2
        logs = logs - size * step
        if float(np.abs(step).max()) * size < 1e-12:
            break
    return np.asarray(np.exp(logs))
