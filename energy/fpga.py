"""A dataflow design on an FPGA: every layer its own circuit, all working at once.

The design is the fastest that fits the part (`folding`), its circuits priced from a table of
syntheses (`circuits`). All options of a unit are priced at the interval of the selection, each
with its cheapest folding by shares of the budget, so that a table compares resources at equal
speed.
"""

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hwsim.errors import BudgetError, InputError, PlatformError
from hwsim.platform import FpgaFabric, FpgaPlatform
from hwsim.tables import Option, UnitCost
from hwsim.workload import Layer, Unit, Work

from .circuits import Build, Foldings, Shape, foldings, has_circuit, shape_of
from .finn import MatrixUnit
from .folding import Design, cheapest, fastest
from .luts import xc7
from .traffic import FIXED, traffic_of

BOARD = "board"
LEVEL = "on_chip"
_RESOURCES = ("lut", "dsp", "bram_18k")


@dataclass(frozen=True, slots=True)
class Part:
    """One part of one layer's circuit, in the design of a selection.

    Args:
        unit: The unit's name.
        node: The layer's node.
        folding: How it is folded, in words.
        cycles: Cycles of the layer per inference.
        part: What it is.
        lut: LUT sites.
        dsp: Multiplier blocks.
        bram_18k: Memory blocks.
        carry4: Carry chains of four bits.
        ff: Flip-flops of the synthesized circuit; None where nobody counted the part's.
        finn_lut: LUTs of the whole layer as FINN estimates them at this folding, multipliers in
            LUTs; on the layer's first part, None for layers that FINN has no formula for.
    """

    unit: str
    node: str
    folding: str
    cycles: int
    part: str
    lut: int
    dsp: int
    bram_18k: int
    carry4: int
    ff: int | None
    finn_lut: int | None = None


@dataclass(frozen=True, slots=True)
class Explained:
    """The design of a selection.

    Args:
        parts: In graph order.
        interval_s: Time between results.
        first_result_s: Time from an input to its result: each layer waits for the share of its
            input that its window spans.
        used: Summed resources.
        budget: Usable resources: the part's closure limits.
        sites_high: LUT sites if every carry chain kept its slice to itself.
        ff: Flip-flops of the parts that state them; weight streams and control have more.
        unpriced: Nodes whose circuits nobody measured.
    """

    parts: tuple[Part, ...]
    interval_s: float
    first_result_s: float
    used: Mapping[str, int]
    budget: Mapping[str, int]
    sites_high: int
    ff: int
    unpriced: tuple[str, ...]


def rows(
    platform: FpgaPlatform,
    units: Sequence[Unit],
    options: Mapping[str, Sequence[Option | None]],
    selection: Mapping[str, Option],
) -> list[UnitCost]:
    """Return the cost of every unit at every option, and one row for the board's power.

    A row's latency is the slowest of its layers; the interval between results is the slowest row.
    Its energy is that of the toggling logic; the board's power over the interval stands in the
    row "board".

    Raises:
        BudgetError: If the selection does not fit the part at any folding.
        PlatformError: If the platform file names a circuit that was not measured.
    """
    build = Build.of(platform)
    budget = tuple(budget_of(platform.fabric).tolist())
    design = _design(platform, units, selection)
    chosen = iter(design.choice)
    clock = platform.clock.si
    found = []
    for unit in units:
        picks = [next(chosen) for layer in unit.layers if has_circuit(layer)]
        for option in options[unit.name]:
            traffic = traffic_of(unit, option or FIXED)
            shapes = _shapes(unit, option or FIXED)
            if option != selection.get(unit.name):
                taken = [_cheapest(shape, build, design.interval, budget) for shape in shapes]
            else:
                taken = picks
            built = [
                _built(shape, build, index) for shape, index in zip(shapes, taken, strict=True)
            ]
            found.append(
                UnitCost(
                    unit=unit.name,
                    option=option,
                    macs=unit.macs,
                    energy_mac_j=_toggling_j(platform, shapes),
                    energy_memory_j={},
                    energy_static_j=0.0,
                    latency_s=max((one.cycles for one in built), default=0) / clock,
                    bound_by="compute",
                    weight_bytes=traffic.weight_bytes,
                    activation_bytes=traffic.activation_bytes,
                    memory_bytes={LEVEL: traffic.weight_bytes + traffic.activation_bytes},
                    lut=sum(one.lut for one in built),
                    dsp=sum(one.dsp for one in built),
                    bram_18k=sum(one.bram_18k for one in built),
                    ff=sum(one.ff for one in built),
                )
            )
    seconds = design.interval / clock
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


def explain(
    platform: FpgaPlatform, units: Sequence[Unit], selection: Mapping[str, Option]
) -> Explained:
    """Return the parts of the design that `rows` prices at a selection.

    Raises:
        BudgetError: If the selection does not fit the part at any folding.
        PlatformError: If the platform file names a circuit that was not measured.
    """
    design = _design(platform, units, selection)
    build, clock = Build.of(platform), platform.clock.si
    chosen = iter(design.choice)
    parts: list[Part] = []
    waits = 0.0
    before = 0
    for unit in units:
        option = selection.get(unit.name, FIXED)
        ways = iter(_ways(platform, _shapes(unit, option), build))
        for layer in unit.layers:
            if not has_circuit(layer):
                continue
            way, index = next(ways), next(chosen)
            parts += _parts(unit.name, layer, option, way, index)
            waits += before * _window(layer)
            before = int(way.cycles[index])
    return Explained(
        parts=tuple(parts),
        interval_s=design.interval / clock,
        first_result_s=(waits + before) / clock,
        used={name: sum(getattr(part, name) for part in parts) for name in _RESOURCES},
        budget=dict(zip(_RESOURCES, budget_of(platform.fabric).tolist(), strict=True)),
        sites_high=sum(max(part.lut, 4 * part.carry4) for part in parts),
        ff=sum(part.ff or 0 for part in parts),
        unpriced=tuple(
            layer.node
            for unit in units
            for layer in unit.layers
            if not has_circuit(layer) and layer.work is not Work.MOVE
        ),
    )


def budget_of(fabric: FpgaFabric) -> NDArray[np.int64]:
    """Return the usable LUT sites, DSP blocks and memory blocks of a part."""
    limits = (fabric.lut_limit, fabric.dsp_limit, fabric.bram_limit)
    counts = (fabric.lut, fabric.dsp, fabric.bram_18k)
    return np.array([int(c.value * part.value) for c, part in zip(counts, limits, strict=True)])


def _parts(unit: str, layer: Layer, option: Option, way: Foldings, index: int) -> Iterator[Part]:
    """Yield the parts of one layer that need anything."""
    labels = {name: int(values[index]) for name, values in way.labels.items()}
    if "pe" in labels:
        where = "DSP" if labels["dsp"] else "LUT"
        folding = f"PE {labels['pe']}, SIMD {labels['simd']}, {where}"
    else:
        folding = f"{labels['copies']} copies"
    finn = _finn(layer, option, labels).lut if "pe" in labels else None
    for name, need in way.parts.items():
        lc, dsp, bram, carry4 = (int(values[index]) for values in need[:4])
        ff = None if need.ff is None else int(need.ff[index])
        if lc or dsp or bram:
            cycles = int(way.cycles[index])
            yield Part(unit, layer.node, folding, cycles, name, lc, dsp, bram, carry4, ff, finn)
            finn = None


def _finn(layer: Layer, option: Option, labels: Mapping[str, int]) -> MatrixUnit:
    """Return the FINN unit of a folding."""
    return MatrixUnit(
        mw=layer.k,
        mh=layer.groups * layer.n,
        pe=labels["pe"],
        simd=labels["simd"],
        vectors=layer.m,
        weight_bits=option.weight_bits if layer.weight_elements else option.activation_bits,
        activation_bits=option.activation_bits,
        accumulator_bits=layer.accumulator_bits,
        depthwise=layer.work is Work.DEPTHWISE,
        mem_mode="internal_decoupled" if layer.weight_elements else "external",
        ram_style="distributed" if labels["distributed"] else "auto",
    )


def _window(layer: Layer) -> float:
    """Return the share of its input that a layer waits for before its first output."""
    if layer.work in (Work.CONV, Work.DEPTHWISE) and len(layer.out_shape) == 4:
        return min(layer.kernel[0] / max(layer.out_shape[1], 1), 1.0)
    return 1.0


def _toggling_j(platform: FpgaPlatform, shapes: Sequence[Shape]) -> float:
    """Return the energy of the LUT sites that a unit's multiply-accumulates keep busy.

    A folding does not change it: half as many products per cycle take twice as many cycles.
    """
    joules = 0.0
    for shape in shapes:
        if shape.macs:
            sites = _mac_sites(shape.weight_bits, shape.activation_bits)
            joules += shape.macs * sites * platform.toggle_energy.si
    return joules


@cache
def _mac_sites(w_bits: int, a_bits: int) -> float:
    """Return the LUT sites of a multiply-accumulate with the table's narrower accumulator."""
    return xc7().mac(w_bits, a_bits, w_bits + a_bits + 10).lc


def _free_name(name: str, taken: Container[str]) -> str:
    """Return a name that no unit has."""
    while name in taken:
        name += "_"
    return name


def _ways(platform: FpgaPlatform, shapes: Sequence[Shape], build: Build) -> list[Foldings]:
    """Return the foldings of layers that have a circuit.

    Raises:
        PlatformError: If the platform file names a softmax that was not measured.
    """
    try:
        return [foldings(shape, build) for shape in shapes]
    except InputError as error:
        raise PlatformError(f"{platform.name}: {error}") from error


def _shapes(unit: Unit, option: Option) -> list[Shape]:
    """Return the shapes of a unit's layers that have a circuit."""
    return [shape_of(layer, option) for layer in unit.layers if has_circuit(layer)]


class _Built(NamedTuple):
    """One folding of a layer as plain numbers."""

    lut: int
    dsp: int
    bram_18k: int
    ff: int
    cycles: int


@lru_cache(maxsize=1 << 14)
def _built(shape: Shape, build: Build, index: int) -> _Built:
    """Return what one folding of a layer takes."""
    way = foldings(shape, build)
    lut, dsp, bram = (int(need) for need in way.need[index])
    return _Built(lut, dsp, bram, int(way.ff[index]), int(way.cycles[index]))


@lru_cache(maxsize=1 << 14)
def _cheapest(shape: Shape, build: Build, interval: int, budget: tuple[int, ...]) -> int:
    """Return the cheapest folding of a layer that keeps an interval."""
    return cheapest(foldings(shape, build), interval, np.array(budget))


@lru_cache(maxsize=256)
def _fastest(shapes: tuple[Shape, ...], build: Build, budget: tuple[int, ...]) -> Design | None:
    """Return the fastest design of layers; the cheapest by shares, where that one fits too."""
    layers, limits = [foldings(shape, build) for shape in shapes], np.array(budget)
    design = fastest(layers, limits)
    if design is None:
        return None
    picks = tuple(cheapest(layer, design.interval, limits) for layer in layers)
    picked = [layer.need[index] for layer, index in zip(layers, picks, strict=True)]
    if picked and bool(np.all(np.sum(picked, axis=0) <= limits)):
        return Design(design.interval, picks)
    return design


def _design(
    platform: FpgaPlatform, units: Sequence[Unit], selection: Mapping[str, Option]
) -> Design:
    """Return the design of a selection.

    Raises:
        BudgetError: If no folding fits.
    """
    budget, build = budget_of(platform.fabric), Build.of(platform)
    shapes = tuple(
        shape for unit in units for shape in _shapes(unit, selection.get(unit.name, FIXED))
    )
    layers = _ways(platform, shapes, build)
    design = _fastest(shapes, build, tuple(budget.tolist()))
    if design is None:
        slow = max(int(layer.cycles.max()) for layer in layers)
        smallest = [layer.need[cheapest(layer, slow, budget)] for layer in layers]
        needs = [sum(int(need[i]) for need in smallest) for i in range(3)]
        worst = max(range(3), key=lambda i: needs[i] / max(int(budget[i]), 1))
        raise BudgetError(
            f"{platform.name}: {_RESOURCES[worst]} must be at most {budget[worst]} (the part's "
            f"closure limit), not {needs[worst]}, which is the need of the smallest design; use "
            "narrower weights or a larger part"
        )
    return design
