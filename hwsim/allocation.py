"""Choose one option per unit: exactly within budgets, by the percentile rule, or uniformly."""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from math import fsum

from hwsim.budgets import Optimum, Unreachable, solve_all
from hwsim.choices import (
    Choices,
    Integers,
    check_budgets,
    proved,
    reachable,
    resources,
    stated,
    whole,
)
from hwsim.errors import BudgetError
from hwsim.mckp import MAX_STATES, Knapsack, Solution
from hwsim.tables import Allocation, CostTable, Option, SensitivityTable


def allocate(
    sensitivity: SensitivityTable,
    costs: CostTable,
    *,
    max_energy_j: float | None = None,
    max_latency_s: float | None = None,
    max_weight_bytes: float | None = None,
    max_activation_bytes: float | None = None,
    max_lut: float | None = None,
    max_dsp: float | None = None,
    max_bram_18k: float | None = None,
    max_states: int = MAX_STATES,
) -> Allocation:
    """Return the configuration of least summed score within all budgets, proved.

    Sums are those of the tables' floats without rounding, so the result meets every budget
    exactly. `resources` are the sums rounded up to the next float, `score` is rounded to nearest.
    A unit may take the options that both tables know. Fixed rows are paid by every configuration;
    on a pipelined platform the latency is the slowest row's.

    Args:
        sensitivity: Score by unit and option, smaller is better; any sign.
        costs: Price by unit and option.
        max_energy_j: Largest energy per inference.
        max_latency_s: Largest latency.
        max_weight_bytes: Largest weight storage.
        max_activation_bytes: Largest activation traffic.
        max_lut: Most FPGA look-up tables.
        max_dsp: Most FPGA multiplier blocks.
        max_bram_18k: Most FPGA 18 Kib memory blocks.
        max_states: Most partial configurations that the proof may hold at once.

    Returns:
        An allocation whose `lower_bound` is its score. Of equal scores, the cheapest in energy
        without a budget, the cheapest in the budget's resource with one, always the same with more.

    Raises:
        BudgetError: If no configuration meets the budgets; the sentence names the one in the way
            and its smallest reachable value.
        InputError: If the tables do not fit together or a budget is not a positive number that
            the platform states.
        SearchError: If the proof would outgrow `max_states`.

    Source: Sinha & Zoltners 1979; Dyer, Riha & Walker 1995. Oracle: tests/oracle/allocation.py.
    """
    choices = Choices.of(sensitivity, costs)
    budgets = check_budgets(
        choices,
        {
            "energy_j": max_energy_j,
            "latency_s": max_latency_s,
            "weight_bytes": max_weight_bytes,
            "activation_bytes": max_activation_bytes,
            "lut": max_lut,
            "dsp": max_dsp,
            "bram_18k": max_bram_18k,
        },
    )
    _refuse_unreachable(choices, budgets, {})
    slow = tuple(name for name in budgets if choices.is_slowest_unit(name))
    for name in slow:
        choices = choices.only(name, budgets[name])
    summed = {name: limit for name, limit in budgets.items() if name not in slow}
    _refuse_unreachable(choices, summed, {name: budgets[name] for name in slow})
    scores = Integers.of(choices.scores)
    names = tuple(summed) or ("energy_j",)
    tables = [Integers.of(choices.table(name), choices.fixed(name)) for name in names]
    rooms = [
        _room(choices, name, table, summed.get(name))
        for name, table in zip(names, tables, strict=True)
    ]
    answer: Solution | Optimum | Unreachable
    if len(names) == 1:
        answer = Knapsack.of(tables[0].rows, scores.rows).solve(rooms[0], max_states=max_states)
        duals: tuple[Fraction, ...] = (answer.dual,)
    else:
        rows = [table.rows for table in tables]
        answer = solve_all(rows, scores.rows, rooms, max_states=max_states)
        if isinstance(answer, Unreachable):
            place = answer.budget
            smallest = Fraction(answer.smallest, tables[place].scale)
            last = names[place]
            smallest += sum(map(Fraction, choices.fixed(last)), Fraction())
            kept = {name: budgets[name] for name in (*slow, *names[:place])}
            raise _unreachable(last, budgets[last], smallest, kept)
        duals = answer.duals
    prices = {
        name: dual * table.scale / scores.scale
        for name, table, dual in zip(names, tables, duals, strict=True)
        if name in summed
    }
    shadow = {name: float(prices.get(name, 0)) for name in budgets}
    relaxed = answer.upgrade if isinstance(answer, Solution) else None
    upgrade = _next_upgrade(choices, answer.choice, relaxed, prices)
    return proved(choices, answer.choice, budgets, shadow, upgrade)


def price_selection(
    sensitivity: SensitivityTable, costs: CostTable, bits: Mapping[str, Option], *, method: str
) -> Allocation:
    """Return a selection that some rule made as an allocation, with what it scores and costs.

    Args:
        sensitivity: Score by unit and option.
        costs: Price by unit and option.
        bits: An option for every unit of `costs`.
        method: The rule's name, such as "percentile".

    Raises:
        InputError: If a unit is missing, or a table does not know its option.
    """
    choices = Choices.of(sensitivity, costs)
    sensitivity.score(bits)
    chosen = {unit: bits[unit] for unit in choices.units}
    rows = costs.select(chosen).selected_rows
    return Allocation(
        bits=chosen,
        score=fsum(sensitivity.values[pair] for pair in chosen.items()),
        resources=resources(rows, choices.stated, pipelined=costs.pipelined),
        method=method,
    )


def uniform_allocations(
    sensitivity: SensitivityTable, costs: CostTable
) -> dict[Option, Allocation]:
    """Return every option that all units can run at, priced, narrow options first."""
    choices = Choices.of(sensitivity, costs)
    shared = set(choices.options[0]) if choices.options else set()
    for options in choices.options:
        shared &= set(options)
    return {
        option: price_selection(
            sensitivity, costs, dict.fromkeys(choices.units, option), method="uniform"
        )
        for option in sorted(shared)
    }


def _room(choices: Choices, resource: str, table: Integers, limit: float | None) -> int:
    """Return what a budget leaves for the units, in the table's integers."""
    if limit is None:
        return sum(map(max, table.rows))
    return whole(limit, table.scale) - sum(
        whole(value, table.scale) for value in choices.fixed(resource)
    )


def _refuse_unreachable(
    choices: Choices, budgets: Mapping[str, float], kept: Mapping[str, float]
) -> None:
    """Refuse the first budget that even the cheapest configuration breaks."""
    for resource, limit in budgets.items():
        fixed = choices.fixed(resource)
        least = [*map(min, choices.table(resource)), *fixed]
        slowest = choices.is_slowest_unit(resource)
        smallest = max(map(Fraction, least)) if slowest else sum(map(Fraction, least), Fraction())
        if smallest > Fraction(limit):
            raise _unreachable(resource, limit, smallest, kept)


def _unreachable(
    resource: str, limit: float, smallest: Fraction, kept: Mapping[str, float]
) -> BudgetError:
    """Return the sentence on a budget out of reach, alone or with others kept."""
    held = " and ".join(f"max_{name} = {stated(value, name)}" for name, value in kept.items())
    how = f"with {held} kept" if held else "(every unit at its cheapest option)"
    return BudgetError(
        f"budget max_{resource} must be at least {reachable(smallest, resource)} {how}, "
        f"not {stated(limit, resource)}"
    )


def _next_upgrade(
    choices: Choices,
    choice: Sequence[int],
    relaxed: tuple[int, int] | None,
    prices: Mapping[str, Fraction],
) -> tuple[str, Option] | None:
    """Return the move that a larger budget buys: the relaxation's, or the steepest single one."""
    if not any(prices.values()):
        return None
    best: tuple[Fraction, int, int] | None = None
    amounts = {name: choices.table(name) for name in prices}
    for unit, (row, now) in enumerate(zip(choices.scores, choice, strict=True)):
        for k, score in enumerate(row):
            fall = Fraction(row[now]) - Fraction(score)
            rise = sum(
                (
                    price * (Fraction(amounts[name][unit][k]) - Fraction(amounts[name][unit][now]))
                    for name, price in prices.items()
                ),
                Fraction(),
            )
            if fall <= 0 or rise <= 0:
                continue
            if (unit, k) == relaxed:
                return choices.units[unit], choices.options[unit][k]
            if best is None or fall / rise > best[0]:
                best = fall / rise, unit, k
    return None if best is None else (choices.units[best[1]], choices.options[best[1]][best[2]])
