"""The cost of a network on a platform: one table of units and options."""

from collections.abc import Mapping, Sequence

from hwsim.errors import InputError, PlatformError
from hwsim.platform import AnalyticPlatform, FpgaPlatform, NpuPlatform, Platform
from hwsim.platform_mcu import McuPlatform
from hwsim.tables import CostTable, Option, UnitCost
from hwsim.workload import Unit

from . import analytic, fpga, gpu, mcu, npu
from .traffic import stored_weight_bits


def cost(
    units: Sequence[Unit],
    platform: Platform,
    selection: Mapping[str, Option] | Option,
    options: Sequence[Option] | None = None,
) -> CostTable:
    """Price every unit of a network at every option of a platform.

    Args:
        units: The network, in graph order.
        platform: What it runs on.
        selection: One option for all units that have a choice, or one for each by name.
        options: The options to price; all that the platform supports (an analytic platform: the
            widths its file offers for tables) if not given. Selected ones are always priced.

    Returns:
        Rows in graph order, options rising; a unit without a choice has one row without option,
        at 8 bits where its tensors state no width.

    Raises:
        PlatformError: If the platform does not support an option, or cannot hold a unit.
        InputError: If the selection names an unknown unit or leaves one out.
        BudgetError: If the selection does not fit an FPGA, or a microcontroller's weight memory.
    """
    chosen = _selection(units, platform, selection)
    asked = set(_default_options(platform) if options is None else options)
    for option in sorted(asked | set(chosen.values())):
        _require(platform, option)
    priced = {
        unit.name: sorted(asked | {chosen[unit.name]}) if unit.has_choice else [None]
        for unit in units
    }
    return CostTable(
        platform=platform.name,
        rows=tuple(_rows(units, platform, priced, chosen)),
        selection=chosen,
        pipelined=isinstance(platform, FpgaPlatform),
        notes=tuple(platform.notes),
    )


def _rows(
    units: Sequence[Unit],
    platform: Platform,
    priced: Mapping[str, Sequence[Option | None]],
    chosen: Mapping[str, Option],
) -> list[UnitCost]:
    """Return the rows of the platform's model."""
    if isinstance(platform, FpgaPlatform):
        return fpga.rows(platform, units, priced, chosen)
    if isinstance(platform, McuPlatform):
        return mcu.rows(platform, units, priced, chosen)
    if isinstance(platform, AnalyticPlatform):
        selected = list(chosen.values())
        by_ratio = (analytic.rows(platform, unit, priced[unit.name], selected) for unit in units)
        return [row for rows in by_ratio for row in rows]
    widest = max(option.weight_bits for option in platform.options)
    network_bits = stored_weight_bits(units, widest)
    if isinstance(platform, NpuPlatform):
        by_unit = (npu.rows(platform, unit, priced[unit.name], network_bits) for unit in units)
    else:
        by_unit = (gpu.rows(platform, unit, priced[unit.name], network_bits) for unit in units)
    return [row for rows in by_unit for row in rows]


def _selection(
    units: Sequence[Unit], platform: Platform, selection: Mapping[str, Option] | Option
) -> dict[str, Option]:
    """Return one supported option for each unit with a choice, in graph order."""
    free = [unit.name for unit in units if unit.has_choice]
    if isinstance(selection, Option):
        _require(platform, selection)
        return dict.fromkeys(free, selection)
    for name in selection:
        if name not in free:
            known = ", ".join(free)
            raise InputError(f"selection must name units with a choice ({known}), not {name!r}")
    for name in free:
        if name not in selection:
            raise InputError(f"selection must hold an option for unit {name!r}, not nothing")
        _require(platform, selection[name])
    return {name: selection[name] for name in free}


def _default_options(platform: Platform) -> tuple[Option, ...]:
    """Return the options of a table that nobody narrowed."""
    if isinstance(platform, AnalyticPlatform):
        return tuple(
            Option(weights, activations)
            for weights in platform.table_bits
            for activations in platform.table_bits
        )
    return platform.options


def _require(platform: Platform, option: Option) -> None:
    """Refuse an option that the platform does not support."""
    if platform.supports(option):
        return
    if isinstance(platform, FpgaPlatform) and 1 in (option.weight_bits, option.activation_bits):
        raise PlatformError(
            f"{platform.name}: weight_bits and activation_bits must be 2 or more, not "
            f"{option.weight_bits}x{option.activation_bits}: nobody synthesized a 1-bit "
            "(XNOR-popcount) unit for the table, so it has no price"
        )
    pairs = [f"{pair.weight_bits}x{pair.activation_bits}" for pair in platform.options]
    listed = pairs if len(pairs) <= 16 else [*pairs[:3], "...", pairs[-1]]
    raise PlatformError(
        f"{platform.name}: weight_bits x activation_bits must be one of {', '.join(listed)}, "
        f"not {option.weight_bits}x{option.activation_bits}"
    )
