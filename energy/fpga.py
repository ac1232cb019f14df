"""A dataflow design on an FPGA: every layer its own matrix unit, all working at once.

The design's interval is the smallest number of cycles at which the selection fits the part,
found by bisection. Each layer then takes, of the (PE, SIMD) foldings that keep the interval, the
one with the smallest sum of its shares of the LUT and BRAM budgets; another mix of foldings may
trade LUTs for BRAM and be a little faster. All options are priced at the
same interval, so that a table compares resources at equal speed.
"""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from hwsim.errors import BudgetError
from hwsim.platform import FpgaFabric, FpgaPlatform
from hwsim.tables import Option, UnitCost
from hwsim.workload import Layer, Unit, Work

from .finn import MatrixUnit
from .traffic import FIXED, traffic_of

BOARD = "board"
LEVEL = "on_chip"


@dataclass(frozen=True, slots=True)
class _Budget:
    """What a design may use of a part."""

    lut: int
    dsp: int
    bram_18k: int

    @classmethod
    def of(cls, fabric: FpgaFabric) -> "_Budget":
        """Return the usable part of a fabric."""
        return cls(
            int(fabric.lut.value * fabric.lut_limit.value),
            int(fabric.dsp.value * fabric.dsp_limit.value),
            int(fabric.bram_18k.value * fabric.bram_limit.value),
        )

    def share(self, unit: MatrixUnit) -> tuple[float, int]:
        """Return how much of the budget a matrix unit takes; its multipliers break ties."""
        return unit.lut / self.lut + unit.bram_18k / self.bram_18k, unit.pe * unit.simd


def rows(
    platform: FpgaPlatform,
    units: Sequence[Unit],
    options: Mapping[str, Sequence[Option | None]],
    selection: Mapping[str, Option],
) -> list[UnitCost]:
    """Return the cost of every unit at every option, and one row for the board's power.

    A row's latency is the slowest of its layers; the interval between results is the slowest row.
    Energy is the board's power over that interval: it stands in the row "board".

    Raises:
        BudgetError: If the selection does not fit the part at any folding.
    """
    budget = _Budget.of(platform.fabric)
    interval = _interval(platform.name, units, selection, budget)
    clock = platform.clock.si
    found = []
    for unit in units:
        for option in options[unit.name]:
            traffic = traffic_of(unit, option or FIXED)
            matrices = _fold_unit(unit, option or FIXED, interval, budget)
            found.append(
                UnitCost(
                    unit=unit.name,
                    option=option,
                    macs=unit.macs,
                    energy_mac_j=0.0,
                    energy_memory_j={},
                    energy_static_j=0.0,
                    latency_s=max((m.cycles for m in matrices), default=0) / clock,
                    bound_by="compute",
                    weight_bytes=traffic.weight_bytes,
                    activation_bytes=traffic.activation_bytes,
                    memory_bytes={LEVEL: traffic.weight_bytes + traffic.activation_bytes},
                    lut=sum(m.lut for m in matrices),
                    dsp=sum(m.dsp_blocks for m in matrices),
                    bram_18k=sum(m.bram_18k for m in matrices),
                )
            )
    seconds = interval / clock
    board = UnitCost(
        unit=_free_name(BOARD, options),
        option=None,
        macs=0,
        energy_mac_j=0.0,
        energy_memory_j={},
        energy_static_j=platform.board_power.si * seconds,
        latency_s=seconds,
        bound_by="compute",
        weight_bytes=0.0,
        activation_bytes=0.0,
        memory_bytes={LEVEL: 0.0},
    )
    return [*found, board]


def _free_name(name: str, taken: Container[str]) -> str:
    """Return a name that no unit has."""
    while name in taken:
        name += "_"
    return name


def _interval(
    name: str, units: Sequence[Unit], selection: Mapping[str, Option], budget: _Budget
) -> int:
    """Return the smallest interval, in cycles, at which the selection fits.

    Raises:
        BudgetError: If it does not fit even with one multiplier per layer.
    """

    def design(target: int) -> list[MatrixUnit]:
        return [
            matrix
            for unit in units
            for matrix in _fold_unit(unit, selection.get(unit.name, FIXED), target, budget)
        ]

    slow = max((layer.macs for unit in units for layer in unit.layers), default=0)
    smallest = design(max(slow, 1))
    over = _over(smallest, budget)
    if over:
        resource, need, limit = over
        raise BudgetError(
            f"{name}: {resource} must be at most {limit} (the part's closure limit), not {need}, "
            "which is the need of the smallest design; use narrower weights or a larger part"
        )
    fast, slow = 0, max((m.cycles for m in smallest), default=0)
    while slow - fast > 1:
        middle = (fast + slow) // 2
        tried = design(middle)
        fits = all(m.cycles <= middle for m in tried) and _over(tried, budget) is None
        fast, slow = (fast, max(m.cycles for m in tried)) if fits else (middle, slow)
    return slow


def _over(design: Sequence[MatrixUnit], budget: _Budget) -> tuple[str, int, int] | None:
    """Return the resource that a design exceeds most, its need and its budget."""
    needs = {
        "lut": sum(m.lut for m in design),
        "dsp": sum(m.dsp_blocks for m in design),
        "bram_18k": sum(m.bram_18k for m in design),
    }
    resource = max(needs, key=lambda name: needs[name] / getattr(budget, name))
    limit = getattr(budget, resource)
    return (resource, needs[resource], limit) if needs[resource] > limit else None


def _fold_unit(unit: Unit, option: Option, target: int, budget: _Budget) -> list[MatrixUnit]:
    """Return the matrix units of the layers that multiply."""
    return [_fold(layer, option, target, budget) for layer in unit.layers if layer.macs]


@cache
def _divisors(number: int) -> tuple[int, ...]:
    """Return the divisors of a number, rising."""
    return tuple(d for d in range(1, number + 1) if number % d == 0)


def _fold(layer: Layer, option: Option, target: int, budget: _Budget) -> MatrixUnit:
    """Return the cheapest folding that keeps the target, or the fastest if none does.

    For each SIMD only the smallest sufficient PE can be cheapest: LUTs rise with PE. A VVAU
    raises SIMD only when all channels run at once, as FINN does. The outputs of all groups stand
    side by side, so that their weights are stored once each.
    """
    depthwise = layer.work is Work.DEPTHWISE
    mw, mh, vectors = layer.k, layer.groups * layer.n, layer.m

    def matrix(pe: int, simd: int) -> MatrixUnit:
        return MatrixUnit(
            mw=mw,
            mh=mh,
            pe=pe,
            simd=simd,
            vectors=vectors,
            weight_bits=option.weight_bits if layer.weight_elements else option.activation_bits,
            activation_bits=option.activation_bits,
            accumulator_bits=layer.accumulator_bits,
            depthwise=depthwise,
            mem_mode="internal_decoupled" if layer.weight_elements else "external",
        )

    candidates = []
    for simd in _divisors(mw):
        for pe in _divisors(mh):
            if depthwise and simd > 1 and pe < mh:
                continue
            if (mw // simd) * (mh // pe) * vectors <= target:
                candidates.append(matrix(pe, simd))
                break
    if not candidates:
        return matrix(mh, mw)
    return min(candidates, key=budget.share)
