"""Microcontrollers and small accelerators: a kernel library, memories, operating points.

Cycles come from a library, not from the core: the same silicon moves by 2 to 7 times between
libraries. Power is nearly constant over networks, so energy is time: what a point states is the
whole power of the chip (or board) while it computes.
"""

from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from hwsim.description import Table, broken_rule
from hwsim.platform_base import Capability, Described, Text
from hwsim.quantity import (
    Capacity,
    Current,
    Cycles,
    CyclesPerElement,
    CyclesPerMac,
    Duration,
    Frequency,
    MacRate,
    Power,
    Ratio,
    Voltage,
)

KernelWork = Literal["conv", "narrow_conv", "depthwise", "fully_connected", "matmul", "recurrent"]
KERNEL_WORKS: tuple[KernelWork, ...] = (
    "conv", "narrow_conv", "depthwise", "fully_connected", "matmul", "recurrent",
)  # fmt: skip
NARROW_CHANNELS = 4
"""A convolution of fewer input channels is narrow: no word of channels fills a vector."""


class Kernel(Table):
    """How fast a library runs some kinds of operators.

    Args:
        work: The kinds; a narrow convolution has fewer than 4 input channels.
        cycles_per_mac: Whole operator over its MACs: loads, requantization, padding included.
        power_ratio: Power during these operators over the point's; None is 1.
    """

    work: Annotated[list[KernelWork], Field(min_length=1)]
    cycles_per_mac: CyclesPerMac
    power_ratio: Ratio | None = None


class McuPrecision(Capability):
    """Widths that share one kernel library.

    Args:
        lane_bits: Width of a lane of the sub-word SIMD unit; narrower codes are widened to it.
        accumulator_bits: Width of the accumulator.
        macs_per_cycle: Peak of all cores and engines.
        unpack: Cycles per MAC that weights below 8 bits add; None where the engine reads them.
        kernel: Rates, each kind once.
    """

    lane_bits: Annotated[int, Field(ge=1, le=64)]
    accumulator_bits: Annotated[int, Field(ge=1, le=64)]
    macs_per_cycle: MacRate
    unpack: CyclesPerMac | None = None
    kernel: Annotated[list[Kernel], Field(min_length=1)]

    @model_validator(mode="after")
    def _check(self) -> Self:
        """Refuse a kind of operator without a rate, or with two."""
        stated = [work for kernel in self.kernel for work in kernel.work]
        for work in KERNEL_WORKS:
            if stated.count(work) != 1:
                raise broken_rule(f"one rate for {work}", stated.count(work), "kernel")
        return self

    def cycles_per_mac(self, work: KernelWork, weight_bits: int) -> float:
        """Return the rate of a kind of operator, unpacking included, never above the peak."""
        rate = next(k.cycles_per_mac.value for k in self.kernel if work in k.work)
        if self.unpack is not None and weight_bits < 8:
            rate += self.unpack.value
        return max(rate, 1 / self.macs_per_cycle.value)

    def power_ratio(self, work: KernelWork) -> float:
        """Return the power during a kind of operator over that of the operating point."""
        ratio = next(k.power_ratio for k in self.kernel if work in k.work)
        return 1.0 if ratio is None else ratio.value


class McuMemory(Table):
    """One memory; its energy is part of the power of a point.

    Args:
        name: Column name of its bytes.
        capacity: Its size; None where no source states one (it then holds everything).
        holds: What lives in it.
    """

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    capacity: Capacity | None = None
    holds: Annotated[list[Literal["weights", "activations"]], Field(min_length=1)]


class OperatingPoint(Table):
    """A published pair of voltage and frequency.

    Args:
        name: How a user asks for it.
        clock: Frequency.
        core_voltage: Voltage of the core, where stated.
        supply_voltage: Voltage at which the power was measured, where stated.
        regulator: What makes the core voltage. Behind a linear one the chip draws the same current
            at any supply, so that power is proportional to the supply voltage.
        active_power: Power while a network runs; its range is that of the measured networks.
        cycle_ratio: Cycles here over those of the first point; None is 1.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_]*$")]
    clock: Frequency
    core_voltage: Voltage | None = None
    supply_voltage: Voltage | None = None
    regulator: Literal["linear", "switching"] | None = None
    active_power: Power
    cycle_ratio: Ratio | None = None

    @property
    def second_per_cycle(self) -> float:
        """Time of one cycle of the first point's count."""
        ratio = 1.0 if self.cycle_ratio is None else self.cycle_ratio.value
        return ratio / self.clock.si


class McuPlatform(Described):
    """A chip that runs a network layer by layer at one of its operating points.

    Args:
        library: Software and version that the rates belong to.
        precision: Supported widths and their rates.
        cycles_per_element: Of work that multiplies nothing, per output element.
        layer_overhead: Cycles of starting one operator; None where the rates include it.
        memory: Where weights and activations live.
        point: Operating points; the first is the one that `cost` uses.
        leakage: Leakage current of the core, one for all points.
        switch_time: Time to move between two points.
    """

    kind: Literal["mcu"]
    library: Text
    precision: Annotated[list[McuPrecision], Field(min_length=1)]
    cycles_per_element: CyclesPerElement
    layer_overhead: Cycles | None = None
    memory: Annotated[list[McuMemory], Field(min_length=1)]
    point: Annotated[list[OperatingPoint], Field(min_length=1)]
    leakage: Current | None = None
    switch_time: Duration | None = None

    @property
    def capabilities(self) -> tuple[Capability, ...]:
        """The supported widths, in file order."""
        return tuple(self.precision)

    @model_validator(mode="after")
    def _check(self) -> Self:
        """Refuse operands without a memory, equal names, and a slower point at more volts."""
        for operand in ("weights", "activations"):
            if not any(operand in level.holds for level in self.memory):
                raise broken_rule(f"at least one memory that holds {operand}", "none", "memory")
        for field, names in (
            ("memory", [level.name for level in self.memory]),
            ("point", [point.name for point in self.point]),
        ):
            if len(set(names)) != len(names):
                raise broken_rule("unique names", ", ".join(names), field)
        points = [(p.core_voltage.value, p.clock) for p in self.point if p.core_voltage]
        points.sort(key=lambda pair: pair[0])
        for (_, low), (volts, high) in pairwise(points):
            if low.si > high.si:
                raise broken_rule(
                    f"at least {low.value:g} MHz at {volts:g} V, where the core runs at less",
                    high.value,
                    "point",
                )
        return self
