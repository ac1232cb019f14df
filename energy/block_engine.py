"""The numbers of a block engine that its cycles need, without units: cycles, bytes, elements."""

from dataclasses import dataclass

from hwsim.errors import PlatformError
from hwsim.platform import MemoryLevel, NpuArray, NpuPlatform

from .block_pass import Output
from .traffic import keeps_weights


@dataclass(frozen=True, slots=True)
class Port:
    """A memory as the engine sees it.

    Args:
        name: Of its level.
        bytes_per_cycle: Peak rate.
        burst: Bytes of a full burst.
        read_latency: Cycles until the first byte comes.
        write_latency: Cycles until the first byte is taken.
    """

    name: str
    bytes_per_cycle: float
    burst: int
    read_latency: int
    write_latency: int


@dataclass(frozen=True, slots=True)
class Engine:
    """A block engine and its two memories.

    Args:
        name: The platform's, for an error.
        micro_block: Output (height, width, channels) computed at once.
        banks: Banks of 1 KiB of its buffer.
        input_granule: Banks in which 8-bit input blocks come.
        accumulator_granule: Banks in which 32-bit accumulators come.
        startup: Cycles that a kernel step waits where a block is a single micro-block.
        small: Whether it is the smallest engine, which pools 8-bit codes at full rate.
        output: Cycles of the output stage per code.
        activations: Where feature maps live.
        weights: Where weights live.
        staging: Bytes of `activations`, for feature maps and weights fetched ahead.
    """

    name: str
    micro_block: tuple[int, int, int]
    banks: int
    input_granule: int
    accumulator_granule: int
    startup: int
    small: bool
    output: tuple[tuple[Output, float], ...]
    activations: Port
    weights: Port
    staging: int

    def output_cycles(self, output: Output) -> float:
        """Return the cycles per code of the output stage."""
        return dict(self.output)[output]


def engine_of(platform: NpuPlatform, network_bits: int) -> Engine:
    """Return the engine of a platform file.

    Args:
        platform: The description.
        network_bits: Stored weights of the whole network: an inner level may keep them.

    Raises:
        PlatformError: If its array is no block engine.
    """
    array = platform.array
    if not isinstance(array, NpuArray):
        raise PlatformError(
            f"{platform.name}: array must be a block engine, not {array.dataflow!r}"
        )
    clock = platform.clock.si
    inner = next(level for level in platform.memory if "activations" in level.holds)
    homes = [level for level in platform.memory if "weights" in level.holds]
    kept = [level for level in homes if keeps_weights(level, network_bits)]
    outer = kept[0] if kept else homes[-1]
    return Engine(
        name=platform.name,
        micro_block=(
            array.micro_block_height.count,
            array.micro_block_width.count,
            array.micro_block_depth.count,
        ),
        banks=int(array.buffer.value),
        input_granule=array.input_granule.count,
        accumulator_granule=array.accumulator_granule.count,
        startup=array.startup.count,
        small=array.micro_block_depth.count == 4,
        output=(
            (Output.DEFAULT, array.output_cycles.value),
            (Output.ADD, array.add_cycles.value),
            (Output.MULTIPLY, array.multiply_cycles.value),
            (Output.MAX_POOL, array.pool_cycles.value),
            (Output.TABLE, array.table_cycles.value),
            (Output.WIDE, array.wide_cycles.value),
            (Output.WIDE_UNARY, array.wide_unary_cycles.value),
        ),
        activations=_port(inner, clock),
        weights=_port(outer, clock),
        staging=int(inner.capacity.si) if inner.capacity else 1 << 40,
    )


def _port(level: MemoryLevel, clock: float) -> Port:
    """Return a memory level in cycles; without a stated rate it bounds nothing."""
    return Port(
        name=level.name,
        bytes_per_cycle=level.bandwidth.si / clock if level.bandwidth else float("inf"),
        burst=level.burst.count if level.burst else 1,
        read_latency=level.read_latency.count if level.read_latency else 0,
        write_latency=level.write_latency.count if level.write_latency else 0,
    )
