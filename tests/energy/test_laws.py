"""Laws that hold on every shipped platform, for networks drawn at random."""

import math
from fractions import Fraction
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwsim.energy import cost
from hwsim.energy.fpga import budget_of
from hwsim.errors import BudgetError
from hwsim.platforms import load_platform, names
from hwsim.tables import CostTable, Option, UnitCost
from hwsim.workload import Layer, Tensor, Unit, Work

PLATFORMS = {name: load_platform(name) for name in names()}
WIDTHS = (2, 3, 4, 6, 8)
FREE = [Option(w, a) for w, a in product(WIDTHS, WIDTHS)]
OPTIONS = {name: [o for o in FREE if PLATFORMS[name].supports(o)] for name in PLATFORMS}


TIMED = tuple(name for name in PLATFORMS if PLATFORMS[name].kind in ("npu", "gpu"))


def unpacks_alone(name: str, small: Option, large: Option) -> bool:
    """Return whether only the narrower pair is stored below the width it runs at, on a GPU.

    Unpacking is work of its own, so that pair is no longer on the wider one's path.
    """
    platform = PLATFORMS[name]
    if platform.kind != "gpu":
        return False
    below, above = (o.weight_bits < platform.native(o).native_bits for o in (small, large))
    return below and not above


@st.composite
def units(draw: st.DrawFn, index: int) -> Unit:
    """Return a unit of one or two layers of any kind, with consistent shapes."""
    layers, tensors = [], []
    kinds = draw(st.lists(st.sampled_from(list(Work)), min_size=1, max_size=2))
    for position, work in enumerate(kinds):
        name = f"u{index}_{position}"
        height, width = draw(st.integers(1, 12)), draw(st.integers(1, 12))
        channels, inputs = draw(st.integers(1, 48)), draw(st.integers(1, 48))
        kernel = draw(st.sampled_from([(1, 1), (3, 3), (10, 4)]))
        groups, m, n, k, weights = 1, height * width, channels, inputs, 0
        shape: tuple[int, ...] = (1, height, width, channels)
        if work is Work.CONV:
            k = inputs * kernel[0] * kernel[1]
            weights = n * k
        elif work is Work.DEPTHWISE:
            groups, n, k = channels, 1, kernel[0] * kernel[1]
            weights = groups * k
        elif work in (Work.FULLY_CONNECTED, Work.MATMUL, Work.RECURRENT):
            kernel, shape = (1, 1), (m, n)
            groups = draw(st.integers(1, 4)) if work is Work.MATMUL else 1
            weights = n * k if work is not Work.MATMUL else 0
        else:
            m = n = k = 0
        macs = groups * m * n * k
        bias = n * groups if weights else 0
        layers.append(Layer(name, work, macs, groups, m, n, k, kernel, shape, weights, bias))
        bits = draw(st.sampled_from([None, None, 8, 16]))
        tensors.append(
            Tensor(
                f"{name}:in", height * width * inputs, draw(st.integers(1, 3)),
                draw(st.integers(0, 1)), bits,
            )
        )  # fmt: skip
    return Unit(f"u{index}", tuple(layers), tuple(tensors), None, draw(st.booleans()))


networks = st.integers(1, 4).flatmap(lambda n: st.tuples(*(units(i) for i in range(n))))


def table_of(name: str, network: tuple[Unit, ...]) -> CostTable | None:
    """Return the network's table, or None where the FPGA cannot hold it."""
    try:
        return cost(network, PLATFORMS[name], OPTIONS[name][-1], OPTIONS[name])
    except BudgetError:
        return None


def bytes_of(row: UnitCost) -> list[float]:
    return [row.weight_bytes, row.activation_bytes, *row.memory_bytes.values()]


@pytest.mark.parametrize("name", PLATFORMS)
@given(network=networks)
@settings(max_examples=40, deadline=None)
def test_the_laws(name: str, network: tuple[Unit, ...]) -> None:
    table = table_of(name, network)
    if table is None:
        return
    by_name = {unit.name: unit for unit in network}

    # Sum of parts: the total is the least float that is not below the exact sum of the rows.
    total, rows = table.total, table.selected_rows
    exact = sum(Fraction(row.energy_j) for row in rows)
    assert Fraction(math.nextafter(total.energy_j, -1)) < exact <= Fraction(total.energy_j)
    assert total.macs == sum(unit.macs for unit in network)
    for row in table.rows:
        parts = row.energy_mac_j + sum(row.energy_memory_j.values()) + row.energy_static_j
        assert row.energy_j == parts
        assert row.energy_j >= 0 and all(size >= 0 for size in bytes_of(row))
        assert (row.bound_by == "") == (row.latency_s is None)

    for row in table.rows:
        unit = by_name.get(row.unit)
        if unit is None:
            continue
        # Compulsory floor: everything stored is touched at least once.
        widths = row.option or Option(8, 8)
        weights = unit.weight_elements * widths.weight_bits / 8 + 4 * unit.bias_elements
        live = sum(t.elements * (t.bits or widths.activation_bits) for t in unit.tensors) / 8
        assert row.weight_bytes == weights
        assert row.activation_bytes >= live
        assert sum(row.memory_bytes.values()) >= weights + live

    # Fewer bits never move more bytes, and never cost more MAC or memory energy.
    for unit in network:
        if not unit.has_choice:
            continue
        priced = [(option, table.row(unit.name, option)) for option in table.options(unit.name)]
        for (small, less), (large, more) in product(priced, priced):
            if small.weight_bits > large.weight_bits:
                continue
            if small.activation_bits > large.activation_bits:
                continue
            assert all(a <= b for a, b in zip(bytes_of(less), bytes_of(more), strict=True))
            assert less.energy_mac_j <= more.energy_mac_j
            assert sum(less.energy_memory_j.values()) <= sum(more.energy_memory_j.values())
            if name in TIMED and not unpacks_alone(name, small, large):
                assert less.latency_s is not None and more.latency_s is not None
                assert less.latency_s <= more.latency_s


@pytest.mark.parametrize("name", TIMED)
@given(network=networks)
@settings(max_examples=40, deadline=None)
def test_latency_never_beats_the_roofline(name: str, network: tuple[Unit, ...]) -> None:
    platform = PLATFORMS[name]
    assert platform.kind in ("npu", "gpu")
    table = table_of(name, network)
    assert table is not None
    for row in table.rows:
        precision = platform.native(row.option or Option(8, 8))
        peak = precision.macs_per_cycle.value * platform.clock.si
        assert row.latency_s is not None
        assert row.latency_s * (1 + 1e-12) >= row.macs / peak
        for level in platform.memory:
            if level.bandwidth:
                assert row.latency_s >= row.memory_bytes[level.name] / level.bandwidth.si


@pytest.mark.parametrize("name", ["pynq_z2", "zcu104"])
@given(network=networks)
@settings(max_examples=25, deadline=None)
def test_a_design_keeps_its_interval_at_every_option(name: str, network: tuple[Unit, ...]) -> None:
    table, platform = table_of(name, network), PLATFORMS[name]
    if table is None:
        return
    assert platform.kind == "fpga"
    lut, dsp, bram = budget_of(platform.fabric)
    interval = table.row("board", None).latency_s
    assert interval is not None and table.total.latency_s == interval
    assert table.total.lut <= lut and table.total.bram_18k <= bram
    assert table.total.dsp <= dsp
    assert all(row.latency_s is not None and row.latency_s <= interval for row in table.rows)


@pytest.mark.parametrize("name", PLATFORMS)
@given(network=networks, data=st.data())
@settings(max_examples=15, deadline=None)
def test_units_do_not_depend_on_their_neighbors(
    name: str, network: tuple[Unit, ...], data: st.DataObject
) -> None:
    if (
        PLATFORMS[name].kind == "fpga"
    ):  # one interval for all units is the point of a dataflow design
        return
    table = table_of(name, network)
    assert table is not None
    position = data.draw(st.integers(0, len(network) - 1))
    alone = table_of(name, (network[position],))
    assert alone is not None
    for row in alone.rows:
        assert row == table.row(row.unit, row.option) if row.option else row in table.rows
