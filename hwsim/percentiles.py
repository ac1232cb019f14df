"""The percentile rule: wide where a unit is sensitive, narrow where it is not."""

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from hwsim.allocation import price_selection
from hwsim.errors import InputError
from hwsim.tables import Allocation, CostTable, Option, SensitivityTable


def percentile_allocation(
    sensitivity: SensitivityTable,
    *,
    high: float = 75,
    low: float = 25,
    bits: tuple[int, int, int] = (8, 6, 4),
    at: int | None = None,
    pinned: Mapping[str, Option] = MappingProxyType({}),
) -> dict[str, Option]:
    """Return `bits[0]` from the high percentile up, `bits[2]` below the low one, else `bits[1]`.

    A unit's sensitivity is its score at one weight width, with the narrowest activations scored
    there. Percentiles are those of the units that are not pinned, linearly interpolated as numpy's.

    Args:
        sensitivity: Score by unit and option, larger for units that suffer more.
        high: Percentile from which a unit is wide, in [0, 100].
        low: Percentile below which a unit is narrow, in [0, high].
        bits: Widths of weights and activations: wide, middle, narrow.
        at: Weight width whose scores rank the units; None is each unit's narrowest.
        pinned: Units that keep their option, such as the first and the last.

    Raises:
        InputError: If the percentiles are out of order, a pinned unit is unknown, or a unit has no
            score at the width.

    Source: the percentile rule of mixed-precision post-training quantization: 8 bits if S >= P75,
    6 if P25 <= S < P75, 4 below.
    """
    if not 0 <= low <= high <= 100:
        raise InputError(f"low and high must rise within [0, 100], not {low!r} and {high!r}")
    for unit in pinned:
        if unit not in sensitivity.units:
            raise InputError(
                f"pinned unit must be one of {', '.join(sensitivity.units)}, not {unit!r}"
            )
    wide, middle, narrow = (Option(width, width) for width in bits)
    ranked = {
        unit: _score_at(sensitivity, unit, at) for unit in sensitivity.units if unit not in pinned
    }
    if ranked:
        least, most = np.percentile(list(ranked.values()), [low, high])
    chosen = {}
    for unit in sensitivity.units:
        if unit in pinned:
            chosen[unit] = pinned[unit]
        else:
            score = ranked[unit]
            chosen[unit] = wide if score >= most else middle if score >= least else narrow
    return chosen


def price_percentile(
    sensitivity: SensitivityTable, costs: CostTable, bits: Mapping[str, Option]
) -> Allocation:
    """Return what `percentile_allocation` chose, scored and priced.

    Raises:
        InputError: If a table does not know one of the options.
    """
    return price_selection(sensitivity, costs, bits, method="percentile")


def _score_at(sensitivity: SensitivityTable, unit: str, width: int | None) -> float:
    """Return a unit's score at a weight width, activations as narrow as scored."""
    options = sensitivity.options(unit)
    found = min((o for o in options if width in (None, o.weight_bits)), default=None)
    if found is None:
        offered = ", ".join(map(str, options))
        raise InputError(
            f"{sensitivity.metric}: unit {unit!r} must be scored at {width}-bit weights, "
            f"not only at {offered}"
        )
    return sensitivity.values[unit, found]
