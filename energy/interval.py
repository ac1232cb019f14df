"""How sure an energy is: its interval, and the constants that move it most.

Energy rises with every energy and power constant of a platform, and with a microcontroller's
cycles per MAC, so the two corners, all of them low and all of them high, bound it exactly. Other
times and sizes stay at their values.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel

from hwsim.platform import Platform, quantities
from hwsim.quantity import Quantity
from hwsim.tables import Option
from hwsim.workload import Unit

from .model import cost

_ENERGY_UNITS = ("pJ/MAC", "pJ/bit", "fJ/LUT/cycle", "W", "cycle/MAC")
_Model = TypeVar("_Model", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class EnergyInterval:
    """An energy between its corners.

    Args:
        low_j: Every such constant at the low end of its range.
        value_j: Every constant at its value.
        high_j: Every one at the high end.
        drivers: (field path, joules between its own two ends), the largest first; constants that
            have no range, or no part in this energy, are not listed.
    """

    low_j: float
    value_j: float
    high_j: float
    drivers: tuple[tuple[str, float], ...]


def energy_interval(
    units: Sequence[Unit],
    platform: Platform,
    selection: Mapping[str, Option] | Option,
    batch: int = 1,
) -> EnergyInterval:
    """Return the energy of a selection with its interval, per inference of a batch.

    Raises:
        HwsimError: As `cost` does.
    """

    def energy_j(changed: Platform) -> float:
        return cost(units, changed, selection, [], batch).total.energy_j

    paths = [path for path, q in quantities(platform).items() if q.unit in _ENERGY_UNITS]
    spans = {
        path: energy_j(_at(platform, _high, {path})) - energy_j(_at(platform, _low, {path}))
        for path in paths
    }
    return EnergyInterval(
        low_j=energy_j(_at(platform, _low, set(paths))),
        value_j=energy_j(platform),
        high_j=energy_j(_at(platform, _high, set(paths))),
        drivers=tuple(
            sorted(
                ((path, span) for path, span in spans.items() if span > 0),
                key=lambda item: -item[1],
            )
        ),
    )


def _low(quantity: Quantity) -> float:
    """Return the low end of a range."""
    return quantity.value if quantity.low is None else quantity.low


def _high(quantity: Quantity) -> float:
    """Return the high end of a range."""
    return quantity.value if quantity.high is None else quantity.high


def _at(platform: Platform, end: Callable[[Quantity], float], paths: set[str]) -> Platform:
    """Return a platform whose quantities at `paths` stand at one end of their range."""

    def changed(model: _Model, path: str) -> _Model:
        update: dict[str, Any] = {}
        for name in type(model).model_fields:
            update[name] = visit(getattr(model, name), f"{path}.{name}" if path else name)
        return model.model_copy(update=update)

    def visit(value: Any, path: str) -> Any:
        if isinstance(value, Quantity):
            return value.model_copy(update={"value": end(value)}) if path in paths else value
        if isinstance(value, BaseModel):
            return changed(value, path)
        if isinstance(value, list):
            return [visit(item, f"{path}[{index}]") for index, item in enumerate(value)]
        return value

    return changed(platform, "")
