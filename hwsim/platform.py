"""Platform descriptions: what a chip offers, every number with its unit and its source.

A number is a table {value, unit, source, low?, high?, mark?}. Bit widths and capability lists
are names of what a chip supports, not measurements; the row that holds them has a source.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, Field, Tag, TypeAdapter, ValidationError, model_validator

from hwsim.description import Table, broken_rule, first_sentence
from hwsim.errors import PlatformError
from hwsim.platform_array import (
    ARRAY_KIND,
    ARRAY_KINDS,
    BLOCK,
    ROW_STATIONARY,
    SYSTOLIC,
    RowStationaryArray,
    SystolicArray,
)
from hwsim.platform_base import Capability, Described, Width, Widths
from hwsim.platform_fpga import DataflowDesign, DspBlock
from hwsim.platform_mcu import McuPlatform
from hwsim.quantity import (
    Bandwidth,
    Banks,
    Brams,
    Bytes,
    Capacity,
    Cycles,
    CyclesPerElement,
    Dsps,
    Duration,
    Elements,
    EnergyPerBit,
    EnergyPerLutCycle,
    EnergyPerMac,
    Frequency,
    Luts,
    MacRate,
    Power,
    Processors,
    Quantity,
    Ratio,
)
from hwsim.tables import Option


class Precision(Capability):
    """Widths that share one datapath.

    Args:
        accumulator_bits: Width of the accumulator.
        macs_per_cycle: Peak rate of the whole chip.
        energy_per_mac: Arithmetic energy, accumulation included.
        efficiency: Part of the peak that a full wave of tiles reaches; demanded of a GPU.
    """

    accumulator_bits: Annotated[int, Field(ge=1, le=64)]
    macs_per_cycle: MacRate
    energy_per_mac: EnergyPerMac
    efficiency: Ratio | None = None

    @property
    def native_bits(self) -> int:
        """Width of its operands: the widest that it takes."""
        return max(self.weight_bits + self.activation_bits)


class MemoryLevel(Table):
    """One memory. Levels stand in the file from the inside out.

    Args:
        name: Column name of its energy and bytes.
        on_chip: Whether it is on the chip.
        holds: What may live in it.
        keeps_weights: Whether weights may stay in it from one inference to the next.
        capacity: Its size; demanded on chip.
        double_buffered: Whether one half is filled while the other is worked on. True: half the
            capacity is usable, and transfers from the next outer level overlap with the work.
            False: all of it is, and they add up. None, where no source states it: all of it is,
            and they overlap, which is the best case. A block engine has buffers of its own.
        bandwidth: Peak rate, None where no source states one (it then bounds nothing).
        burst: A full burst; a shorter one takes as long. None: transfers of any length.
        read_latency: Cycles until the first byte comes.
        write_latency: Cycles until the first byte is taken.
        energy_read: Energy of a bit read.
        energy_write: Energy of a bit written.
        leakage: Power that it draws all the time, where `static_power` does not hold it.
    """

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    on_chip: bool
    holds: Annotated[list[Literal["weights", "activations"]], Field(min_length=1)]
    keeps_weights: bool = False
    capacity: Capacity | None = None
    double_buffered: bool | None = None
    bandwidth: Bandwidth | None = None
    burst: Bytes | None = None
    read_latency: Cycles | None = None
    write_latency: Cycles | None = None
    energy_read: EnergyPerBit
    energy_write: EnergyPerBit
    leakage: Power | None = None

    @property
    def usable_bits(self) -> int | None:
        """What holds tensors and tiles at a time; None for a level of unstated size."""
        if self.capacity is None:
            return None
        return int(8 * self.capacity.si) // (2 if self.double_buffered else 1)

    @model_validator(mode="after")
    def _check(self) -> Self:
        """Refuse an on-chip level without a size."""
        if self.on_chip and self.capacity is None:
            raise broken_rule("given for a level on the chip", "missing", "capacity")
        return self


class _Clocked(Described):
    """A processor with MAC precisions, a clock and memories."""

    clock: Frequency
    precision: Annotated[list[Precision], Field(min_length=1)]
    memory: Annotated[list[MemoryLevel], Field(min_length=1)]
    static_power: Power

    @property
    def capabilities(self) -> tuple[Capability, ...]:
        """The supported widths, in file order."""
        return tuple(self.precision)

    @property
    def idle_power_w(self) -> float:
        """What is drawn all the time: static power, and the leakage that levels state."""
        return self.static_power.si + sum(
            level.leakage.si for level in self.memory if level.leakage is not None
        )

    def native(self, option: Option) -> Precision:
        """Return the precision that a pair runs at: the narrowest that takes it, else the widest.

        Only work without a choice can meet a platform that does not take its pair.
        """
        taking = [
            row
            for row in self.precision
            if option.weight_bits in row.weight_bits
            and option.activation_bits in row.activation_bits
        ]
        if taking:
            return min(taking, key=lambda row: row.native_bits)
        return max(self.precision, key=lambda row: row.native_bits)

    @model_validator(mode="after")
    def _check(self) -> Self:
        """Refuse levels that share a name or leave weights or activations without a place."""
        names = [level.name for level in self.memory]
        if len(set(names)) != len(names):
            raise broken_rule("unique level names", ", ".join(names), "memory")
        for operand in ("weights", "activations"):
            if not any(operand in level.holds for level in self.memory):
                raise broken_rule(f"at least one level that holds {operand}", "none", "memory")
        if not any(not level.on_chip for level in self.memory):
            raise broken_rule("at least one level off the chip", "none", "memory")
        return self


def _require_tile(memory: list[MemoryLevel], rows: int, columns: int, bits: int) -> None:
    """Refuse memories on the chip that together are smaller than one tile."""
    room = sum(level.capacity.si for level in memory if level.on_chip and level.capacity)
    need = rows * columns * bits / 8
    if room < need:
        rule = f"at least {need:.0f} bytes on the chip, one tile of {rows} x {columns}"
        raise broken_rule(rule, int(room), "memory")


class NpuArray(Table):
    """The block engine of an Ethos-U-like NPU.

    Args:
        micro_block_width: Output columns computed at once.
        micro_block_height: Output rows computed at once.
        micro_block_depth: Output channels computed at once.
        buffer: On-chip memory of the engine's input blocks and accumulators.
        input_granule: Banks of 1 KiB in which 8-bit input blocks come.
        accumulator_granule: Banks in which 32-bit accumulators come.
        startup: Wait of a kernel step where a block is a single micro-block.
        output_cycles: Output stage, default operators.
        add_cycles: Output stage, additions and subtractions.
        multiply_cycles: Output stage, products.
        pool_cycles: Output stage, maximum pooling.
        table_cycles: Output stage, table look-ups.
        wide_cycles: Output stage, elementwise operators on 32 bits.
        wide_unary_cycles: The same of those with one operand.
    """

    micro_block_width: Elements
    micro_block_height: Elements
    micro_block_depth: Elements
    buffer: Capacity
    input_granule: Banks
    accumulator_granule: Banks
    startup: Cycles
    output_cycles: CyclesPerElement
    add_cycles: CyclesPerElement
    multiply_cycles: CyclesPerElement
    pool_cycles: CyclesPerElement
    table_cycles: CyclesPerElement
    wide_cycles: CyclesPerElement
    wide_unary_cycles: CyclesPerElement


_ComputeArray = Annotated[
    Annotated[NpuArray, Tag(BLOCK)]
    | Annotated[SystolicArray, Tag(SYSTOLIC)]
    | Annotated[RowStationaryArray, Tag(ROW_STATIONARY)],
    ARRAY_KIND,
]


class NpuPlatform(_Clocked):
    """An NPU. Its array is a block engine unless it states a dataflow.

    A pair of widths below the array's runs at the array's rate; it is stored and moved narrower.
    """

    kind: Literal["npu"]
    array: _ComputeArray

    @model_validator(mode="after")
    def _check_tile(self) -> Self:
        """Refuse a systolic array whose stationary tile no memory on the chip could hold."""
        if isinstance(self.array, SystolicArray):
            weights = self.array.dataflow == "ws"
            widths = [row.weight_bits if weights else row.activation_bits for row in self.precision]
            rows, columns = self.array.rows.count, self.array.columns.count
            _require_tile(self.memory, rows, columns, min(map(min, widths)))
        return self


class GpuCores(Table):
    """The tensor cores of a GPU and the kernels that feed them.

    Args:
        processors: Streaming multiprocessors.
        tile_rows: Rows of the output tile of one thread block.
        tile_columns: Columns of that tile.
        launch: Time of one kernel beyond its work.
        epilogue: Chip cycles that an output takes after its sum: requantization and write, at
            any width.
        unpack: Chip cycles that a weight takes to become a native code, where it is stored
            narrower.
        chained: Part of a kernel's time alone that remains where kernels follow one another.
    """

    processors: Processors
    tile_rows: Elements
    tile_columns: Elements
    launch: Duration
    epilogue: CyclesPerElement
    unpack: CyclesPerElement
    chained: Ratio


class GpuPlatform(_Clocked):
    """A GPU that runs every pair at its smallest native precision that holds both widths."""

    kind: Literal["gpu"]
    cores: GpuCores

    @model_validator(mode="after")
    def _check_cores(self) -> Self:
        """Refuse a precision without an efficiency, and shares above 1."""
        for index, row in enumerate(self.precision):
            where = f"precision[{index}].efficiency"
            if row.efficiency is None:
                raise broken_rule("given for a GPU", "missing", where)
            if row.efficiency.value > 1:
                raise broken_rule("at most 1", row.efficiency.value, where)
        if self.cores.chained.value > 1:
            raise broken_rule("at most 1", self.cores.chained.value, "cores.chained")
        rows, columns = self.cores.tile_rows.count, self.cores.tile_columns.count
        _require_tile(self.memory, rows, columns, min(row.native_bits for row in self.precision))
        return self


class FpgaFabric(Table):
    """The resources of a part, and which share of them a design may fill.

    Args:
        lut: Look-up tables.
        dsp: Multiplier blocks.
        bram_18k: Memory blocks of 18 Kib.
        lut_limit: Usable part of `lut`.
        dsp_limit: Usable part of `dsp`.
        bram_limit: Usable part of `bram_18k`.
    """

    lut: Luts
    dsp: Dsps
    bram_18k: Brams
    lut_limit: Ratio
    dsp_limit: Ratio
    bram_limit: Ratio


class FpgaPlatform(Described):
    """A part that holds the whole network as a dataflow pipeline, weights on the chip.

    Args:
        clock: Of the design.
        precision: Widths that it takes.
        fabric: The part's resources.
        dsp_block: Its multiplier blocks.
        dataflow: Choices of the design.
        toggle_energy: Energy of a working LUT site in one cycle.
        board_power: The rest of the measured power, which hardly depends on the design.
    """

    kind: Literal["fpga"]
    clock: Frequency
    precision: Annotated[list[Capability], Field(min_length=1)]
    fabric: FpgaFabric
    dsp_block: DspBlock
    dataflow: DataflowDesign
    toggle_energy: EnergyPerLutCycle
    board_power: Power

    @property
    def capabilities(self) -> tuple[Capability, ...]:
        """The supported widths, in file order."""
        return tuple(self.precision)


class AnalyticPlatform(Described):
    """A closed formula: MAC energy by the product of the widths, memory energy by the width.

    Args:
        precision: What the formula takes.
        table_bits: Widths that a table offers unless asked for others.
        reference_bits: Width at which `energy_per_mac` holds.
        energy_per_mac: Energy of a multiply-accumulate at that width.
        memory_ratio: Energy of a memory word over that of a MAC, both at that width.
    """

    kind: Literal["analytic"]
    precision: Annotated[list[Capability], Field(min_length=1)]
    table_bits: Widths
    reference_bits: Width
    energy_per_mac: EnergyPerMac
    memory_ratio: Ratio

    @property
    def capabilities(self) -> tuple[Capability, ...]:
        """The supported widths, in file order."""
        return tuple(self.precision)


Platform = NpuPlatform | McuPlatform | GpuPlatform | FpgaPlatform | AnalyticPlatform

_ADAPTER: TypeAdapter[Platform] = TypeAdapter(Annotated[Platform, Field(discriminator="kind")])
_KINDS = ("npu", "mcu", "gpu", "fpga", "analytic")


def parse_platform(table: dict[str, Any], file: str) -> Platform:
    """Return the platform of a parsed description file.

    Args:
        table: The file's content.
        file: The name that an error begins with.

    Raises:
        PlatformError: If the table breaks the schema; the message names the first broken rule.
    """
    try:
        return _ADAPTER.validate_python(table)
    except ValidationError as error:
        raise PlatformError(f"{file}: {first_sentence(error, _KINDS, ARRAY_KINDS)}") from error


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of a description file."""
    return _ADAPTER.json_schema()


def quantities(platform: Platform) -> dict[str, Quantity]:
    """Return every number of a platform by its field path, as "memory[0].energy_read"."""
    found: dict[str, Quantity] = {}

    def visit(value: object, path: str) -> None:
        if isinstance(value, Quantity):
            found[path] = value
        elif isinstance(value, BaseModel):
            for name in type(value).model_fields:
                visit(getattr(value, name), f"{path}.{name}" if path else name)
        elif isinstance(value, list):
            for index, item in enumerate(value):
                visit(item, f"{path}[{index}]")

    visit(platform, "")
    return found
