"""The cost of a network on a platform: one table of units and options."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from hwsim.errors import InputError, PlatformError
from hwsim.platform import (
    AnalyticPlatform,
    FpgaPlatform,
    GpuPlatform,
    NpuArray,
    NpuPlatform,
    Platform,
)
from hwsim.platform_mcu import McuPlatform
from hwsim.tables import CostTable, Option, UnitCost
from hwsim.workload import Unit

from . import analytic, arrays, fpga, gpu, mcu, npu
from .movement import Movement
from .mover import Mover
from .residence import batched
from .traffic import FIXED, stored_weight_bits


def cost(
    units: Sequence[Unit],
    platform: Platform,
    selection: Mapping[str, Option] | Option,
    options: Sequence[Option] | None = None,
    batch: int = 1,
) -> CostTable:
    """Price every unit of a network at every option of a platform.

    Args:
        units: The network, in graph order.
        platform: What it runs on.
        selection: One option for all units that have a choice, or one for each by name.
        options: The options to price; all that the platform supports (an analytic platform: the
            widths its file offers for tables) if not given. Selected ones are always priced.
        batch: Inferences that go through each layer together, on a GPU and on arrays with a
            dataflow; costs are of one of them. Weights that a schedule reads once are shared,
            activations need as much more room. Everything else takes one inference after the
            other, and costs the same at any batch.

    Returns:
        Rows in graph order, options rising; a unit without a choice has one row without option,
        at 8 bits where its tensors state no width.

    Raises:
        PlatformError: If the platform does not support an option, or cannot hold a unit.
        InputError: If the selection names an unknown unit or leaves one out, or the batch is no
            positive number.
        BudgetError: If the selection does not fit an FPGA, or a microcontroller's weight memory.
    """
    if isinstance(batch, bool) or not isinstance(batch, int) or batch < 1:
        raise InputError(f"batch must be a positive integer, not {batch!r}")
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
        rows=tuple(_rows(units, platform, priced, chosen, batch)),
        selection=chosen,
        pipelined=isinstance(platform, FpgaPlatform),
        notes=(*platform.notes, *_batch_notes(platform, batch)),
    )


def _batch_notes(platform: Platform, batch: int) -> list[str]:
    """Return what a batch means for the numbers of a table."""
    if batch == 1:
        return []
    if goes_together(platform):
        return [f"Costs are of one inference in a batch of {batch}."]
    return [
        f"Inferences follow each other here: one in a batch of {batch} costs what one alone does."
    ]


def goes_together(platform: Platform) -> bool:
    """Return whether the inferences of a batch go through each layer together."""
    if isinstance(platform, NpuPlatform):
        return not isinstance(platform.array, NpuArray)
    return isinstance(platform, GpuPlatform)


def _rows(
    units: Sequence[Unit],
    platform: Platform,
    priced: Mapping[str, Sequence[Option | None]],
    chosen: Mapping[str, Option],
    batch: int,
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
    if isinstance(platform, NpuPlatform) and isinstance(platform.array, NpuArray):
        bits = network_bits(units, platform)
        by_block = (npu.rows(platform, unit, priced[unit.name], bits) for unit in units)
        return [row for rows in by_block for row in rows]
    together = [batched(unit, batch) for unit in units]
    mover = mover_of(platform, together)
    found: list[UnitCost] = []
    for unit, whole in zip(units, together, strict=True):
        if isinstance(platform, GpuPlatform):
            rows = gpu.rows(platform, whole, priced[unit.name], mover)
        else:
            assert not isinstance(platform.array, NpuArray)
            rows = arrays.rows(platform, platform.array, whole, priced[unit.name], mover)
        found += [_share(row, unit, batch) for row in rows]
    return found


def mover_of(platform: GpuPlatform | NpuPlatform, units: Sequence[Unit]) -> Mover:
    """Return the memories of a platform as a network of (batched) units uses them.

    Raises:
        PlatformError: If its array is a block engine, or a layer does not fit the array.
    """
    if isinstance(platform, GpuPlatform):
        adds = gpu.streaming(platform)
        options = [gpu.stored(platform, option) for option in platform.options]
    elif isinstance(platform.array, NpuArray):
        raise PlatformError(
            f"{platform.name}: array must state a dataflow, a block engine has its own schedule"
        )
    else:
        adds = arrays.streaming(platform, platform.array)
        options = list(platform.options)
    widest = Option(
        max(option.weight_bits for option in options),
        max(option.activation_bits for option in options),
    )
    return Mover(platform.name, platform.memory, units, adds, widest, network_bits(units, platform))


def network_bits(units: Sequence[Unit], platform: GpuPlatform | NpuPlatform) -> int:
    """Return the stored weights of a network at the widest weights of a platform."""
    return stored_weight_bits(units, max(option.weight_bits for option in platform.options))


def movements(
    units: Sequence[Unit],
    platform: Platform,
    selection: Mapping[str, Option],
    batch: int = 1,
) -> dict[str, Movement]:
    """Return what each unit moves in a whole batch, with its layers' schedules.

    Empty for a platform whose memories have no schedule of this kind.
    """
    if not (goes_together(platform) and isinstance(platform, GpuPlatform | NpuPlatform)):
        return {}
    together = [batched(unit, batch) for unit in units]
    mover = mover_of(platform, together)
    found = {}
    for unit in together:
        widths = selection.get(unit.name, FIXED)
        if isinstance(platform, GpuPlatform):
            widths = gpu.stored(platform, widths)
        found[unit.name] = mover.move(unit, widths)
    return found


def _share(row: UnitCost, unit: Unit, batch: int) -> UnitCost:
    """Return what one inference of a batch costs."""
    if batch == 1:
        return row
    return replace(
        row,
        macs=unit.macs,
        energy_mac_j=row.energy_mac_j / batch,
        energy_memory_j={name: joules / batch for name, joules in row.energy_memory_j.items()},
        energy_static_j=row.energy_static_j / batch,
        latency_s=None if row.latency_s is None else row.latency_s / batch,
        activation_bytes=row.activation_bytes / batch,
        memory_bytes={name: size / batch for name, size in row.memory_bytes.items()},
    )


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
