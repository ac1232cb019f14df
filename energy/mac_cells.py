"""Multiply-accumulate energy in open standard-cell libraries, and what of it follows the data.

`platforms/mac_cells.csv` holds gate-level runs (yosys netlists, inertial delays, no wires): what
was measured is returned as it is, between the measured points stands the fit
E = alpha w a - beta (w + a) + gamma acc, and E = c1 partial products + c2 accumulator input + c3
register bits follows toggles that were counted. Absolute energies have no wires and one input
slew: ratios are what they are good for.
"""

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources

import numpy as np
from numpy.typing import NDArray

from hwsim.errors import InputError

from .toggles import Codes, Toggles, count, summary

SIGNED = "signed"
UNSIGNED = "unsigned"
MIXED = "signed_weight_unsigned_activation"
SIGNEDNESS = (SIGNED, UNSIGNED, MIXED)
MEASURED_BITS = range(2, 9)
CYCLES, STREAMS, DROPPED = 34, 256, 2


@dataclass(frozen=True, slots=True)
class CellMac:
    """One gate-level run: energies in fJ per operation at the library's own voltage."""

    library: str
    volts: float
    signedness: str
    weight_bits: int
    activation_bits: int
    accumulator_bits: int
    weights: str
    activations: str
    energy_fj: float
    switching_fj: float
    clock_fj: float

    @property
    def widths(self) -> tuple[int, int, int]:
        """Bits of weight, activation and accumulator."""
        return self.weight_bits, self.activation_bits, self.accumulator_bits


@cache
def cell_macs() -> tuple[CellMac, ...]:
    """Return the shipped gate-level runs."""
    text = resources.files("hwsim.platforms").joinpath("mac_cells.csv").read_text("utf-8")
    return tuple(
        CellMac(
            library=row["library"],
            volts=float(row["supply_volts"]),
            signedness=row["signedness"],
            weight_bits=int(row["w_bits"]),
            activation_bits=int(row["a_bits"]),
            accumulator_bits=int(row["accumulator_bits"]),
            weights=row["w_distribution"],
            activations=row["a_distribution"],
            energy_fj=float(row["energy_fj"]),
            switching_fj=float(row["switching_energy_fj"]),
            clock_fj=float(row["clock_energy_fj"]),
        )
        for row in csv.DictReader(text.splitlines())
    )


def libraries() -> tuple[str, ...]:
    """Return the names of the libraries."""
    return tuple(dict.fromkeys(mac.library for mac in cell_macs()))


def _of(library: str) -> list[CellMac]:
    found = [mac for mac in cell_macs() if mac.library == library]
    if not found:
        raise InputError(f"cell library must be one of {', '.join(libraries())}, not {library!r}")
    return found


_TABLED = {
    SIGNED: ("gaussian", "gaussian"),
    UNSIGNED: ("gaussian_magnitude", "gaussian_magnitude"),
    MIXED: ("gaussian", "gaussian_relu"),
}


@dataclass(frozen=True, slots=True)
class CellFit:
    """E = alpha w a - beta (w + a) + gamma acc in fJ, and its errors on the points it is from.

    Args:
        alpha: Per bit pair.
        beta: Per operand bit.
        gamma: Per accumulator bit.
        points: How many runs it is fitted on.
        mean_error: Mean |relative error|, each point left out in turn.
        worst_error: The largest of these.
    """

    alpha: float
    beta: float
    gamma: float
    points: int
    mean_error: float
    worst_error: float

    def energy_fj(self, weight_bits: int, activation_bits: int, accumulator_bits: int) -> float:
        """Return the fitted energy."""
        return (
            self.alpha * weight_bits * activation_bits
            - self.beta * (weight_bits + activation_bits)
            + self.gamma * accumulator_bits
        )


@cache
def cell_fit(library: str) -> CellFit:
    """Return the fit of a library's signed units: Gaussian operands, widths from 3 bits.

    At 2 bits a Gaussian of a third of the range is mostly zero, so those runs are left out.
    """
    points = [
        mac
        for mac in _of(library)
        if (mac.signedness, mac.weights, mac.activations) == (SIGNED, *_TABLED[SIGNED])
        and min(mac.weight_bits, mac.activation_bits) >= 3
    ]
    terms = np.array(
        [
            [m.weight_bits * m.activation_bits, -(m.weight_bits + m.activation_bits)]
            + [m.accumulator_bits]
            for m in points
        ],
        np.float64,
    )
    energies = np.array([mac.energy_fj for mac in points])
    alpha, beta, gamma = _relative_fit(terms, energies)
    errors = left_out_errors(terms, energies)
    return CellFit(alpha, beta, gamma, len(points), float(errors.mean()), float(errors.max()))


def _relative_fit(terms: NDArray[np.float64], energies: NDArray[np.float64]) -> list[float]:
    """Return the coefficients of least squared relative error."""
    scaled = terms / energies[:, None]
    return [float(c) for c in np.linalg.lstsq(scaled, np.ones(len(energies)), rcond=None)[0]]


def left_out(terms: NDArray[np.float64], energies: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the prediction of every point by the fit of all others."""
    rows = np.arange(len(energies))
    return np.array([terms[i] @ _relative_fit(terms[rows != i], energies[rows != i]) for i in rows])


def left_out_errors(
    terms: NDArray[np.float64], energies: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return |relative error| of every point, predicted by the fit of all others."""
    errors: NDArray[np.float64] = np.abs(left_out(terms, energies) / energies - 1)
    return errors


def cell_energy_fj(library: str, signedness: str, widths: tuple[int, int, int]) -> float:
    """Return the energy of one operation in a library: measured, else fitted.

    Unmeasured widths are the signed fit times what the measured units of both operand widths, at
    32 accumulator bits, are to it (the geometric mean of both). Every triple of widths is a netlist
    of its own, so a wider unit may come out a few percent below a narrower one.

    Args:
        library: One of `libraries()`.
        signedness: One of `SIGNEDNESS`.
        widths: Bits of weight, activation and accumulator.

    Raises:
        InputError: If operand widths are outside the measured 2 to 8 bits, or the accumulator is
            wider than 32 bits.
    """
    weight_bits, activation_bits, accumulator_bits = widths
    for name, bits in (("weight_bits", weight_bits), ("activation_bits", activation_bits)):
        if bits not in MEASURED_BITS:
            raise InputError(f"{name} must be 2 to 8, as measured in cell libraries, not {bits}")
    if not 1 <= accumulator_bits <= 32:
        raise InputError(
            f"accumulator_bits must be at most 32, as measured in cell libraries, "
            f"not {accumulator_bits}"
        )
    if signedness not in SIGNEDNESS:
        raise InputError(f"signedness must be one of {', '.join(SIGNEDNESS)}, not {signedness!r}")
    tabled = _tabled(library, signedness)
    if widths in tabled:
        return tabled[widths]
    fit = cell_fit(library)
    ratios = []
    for bits in (weight_bits, activation_bits):
        # Two-bit units of these operands hardly switch: the next wider ones stand in for them.
        known = bits if (bits, bits, 32) in tabled else 3
        ratios.append(tabled[known, known, 32] / fit.energy_fj(known, known, 32))
    return fit.energy_fj(*widths) * math.sqrt(ratios[0] * ratios[1])


def _tabled(library: str, signedness: str) -> dict[tuple[int, int, int], float]:
    """Return the measured energies by widths, of Gaussian operands where these are not all zero."""
    found = {}
    for mac in _of(library):
        drawn_as = (mac.weights, mac.activations)
        narrow = min(mac.weight_bits, mac.activation_bits) < 3
        wanted = ("uniform", "uniform") if narrow else _TABLED[signedness]
        if mac.signedness == signedness and drawn_as == wanted:
            found[mac.widths] = mac.energy_fj
    return found


def drawn(distribution: str, bits: int, signed: bool, rng: np.random.Generator) -> Codes:
    """Return operand streams as the gate-level runs drew them, (streams, cycles).

    Raises:
        InputError: If the distribution has another name.
    """
    shape = (STREAMS, CYCLES)
    low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)
    top = (1 << (bits - 1)) - 1  # of signed codes; magnitudes keep to it
    if distribution == "uniform":
        return rng.integers(low, high + 1, shape)
    if distribution == "held_uniform":
        return np.repeat(rng.integers(low, high + 1, (STREAMS, 1)), CYCLES, axis=1)
    if distribution == "gaussian":
        return _gaussian(top, rng, shape)
    if distribution == "gaussian_magnitude":
        return np.abs(_gaussian(top, rng, shape))
    if distribution == "gaussian_relu":
        return np.maximum(_gaussian((1 << bits) - 1, rng, shape), 0)
    raise InputError(f"distribution must be a gate-level run's, not {distribution!r}")


def _gaussian(top: int, rng: np.random.Generator, shape: tuple[int, int]) -> Codes:
    return np.clip(np.rint(rng.normal(0.0, top / 3, shape)), -top, top).astype(np.int64)


def cell_toggles(
    signedness: str, widths: tuple[int, int, int], weights: str, activations: str
) -> Toggles:
    """Return the flips of a gate-level run's operands: the same distributions, drawn anew."""
    rng = np.random.default_rng(2202)
    w = drawn(weights, widths[0], signedness != UNSIGNED, rng)
    a = drawn(activations, widths[1], signedness == SIGNED, rng)
    sums = np.cumsum(w * a, axis=1)
    kept = (slice(None), slice(DROPPED - 1, None))
    streams = count(w[kept], a[kept], sums[kept], widths)
    return summary(streams, STREAMS * (CYCLES - DROPPED), exact=False)


@dataclass(frozen=True, slots=True)
class ToggleEnergy:
    """E = partial_products + accumulator_input + register bits, each times its energy in fJ.

    Args:
        library: Whose cells.
        volts: Voltage of the calibration.
        partial_product: Per flip of the partial-product array.
        accumulator_input: Per flip of the sign-extended product.
        register_bit: Clock and register, per bit of weight, activation and accumulator.
        points: How many runs it is fitted on.
        mean_error: Mean |relative error|, each run left out in turn.
        worst_error: The largest of these.
    """

    library: str
    volts: float
    partial_product: float
    accumulator_input: float
    register_bit: float
    points: int
    mean_error: float
    worst_error: float

    def energy_j(
        self, toggles: Toggles, widths: tuple[int, int, int], volts: float | None = None
    ) -> float:
        """Return joules per operation; a voltage scales them by its square."""
        scale = 1.0 if volts is None else (volts / self.volts) ** 2
        return scale * 1e-15 * float(_terms(toggles, widths) @ self.coefficients)

    def error_j(self, toggles: Toggles) -> float:
        """Return the sampling error of `energy_j`, one standard error, wires taken as dependent."""
        parts = (0.0, 0.0, self.partial_product, self.accumulator_input, 0.0)
        return 1e-15 * sum(c * e for c, e in zip(parts, toggles.error, strict=True))

    @property
    def coefficients(self) -> NDArray[np.float64]:
        """The three energies."""
        return np.array([self.partial_product, self.accumulator_input, self.register_bit])


def _terms(toggles: Toggles, widths: tuple[int, int, int]) -> NDArray[np.float64]:
    wires = (toggles.on("partial_products"), toggles.on("accumulator_input"))
    return np.array([*wires, float(sum(widths))])


def toggle_terms(macs: Sequence[CellMac]) -> NDArray[np.float64]:
    """Return the terms of `ToggleEnergy` of gate-level runs, (runs, 3)."""
    return np.array(
        [
            _terms(
                cell_toggles(mac.signedness, mac.widths, mac.weights, mac.activations), mac.widths
            )
            for mac in macs
        ]
    )


@cache
def toggle_energy(library: str) -> ToggleEnergy:
    """Return the calibration of a library on all its shipped runs."""
    macs = _of(library)
    terms, energies = toggle_terms(macs), np.array([mac.energy_fj for mac in macs])
    errors = left_out_errors(terms, energies)
    partial, entered, register = _relative_fit(terms, energies)
    return ToggleEnergy(
        library, macs[0].volts, partial, entered, register, len(macs),
        float(errors.mean()), float(errors.max()),
    )  # fmt: skip
