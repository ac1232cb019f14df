"""What operands move through memories: floors, capacity, neighbors, batches, buffers."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hwsim
from hwsim.energy import cost
from hwsim.energy.loop_nest import loop_nest
from hwsim.energy.model import movements
from hwsim.energy.movement import Movement
from hwsim.energy.schedule import io_floor_words
from hwsim.energy.validation.shipped import shipped_npu
from hwsim.errors import InputError, PlatformError
from hwsim.partition import workload
from hwsim.platform import NpuPlatform, parse_platform
from hwsim.platforms import load_platform, names
from hwsim.tables import Option
from hwsim.workload import Layer, Tensor, Unit, Work
from tests.energy.test_cost import NET, conv
from tests.energy.test_laws import networks
from tests.shared import model_file

W8A8 = Option(8, 8)
WIDTHS = (2, 4, 8)
OPTIONS = [Option(w, a) for w in WIDTHS for a in WIDTHS]
BOTH = ["weights", "activations"]


def number(value: float, unit: str) -> dict[str, Any]:
    return {"value": value, "unit": unit, "source": "made up for a test"}


def level(name: str, kib: float | None, holds: list[str] = BOTH, **more: Any) -> dict[str, Any]:
    """Return a memory level; on the chip if it has a size."""
    found = {
        "name": name, "on_chip": kib is not None, "holds": holds,
        "bandwidth": number(1.0, "GB/s"), "energy_read": number(1.0, "pJ/bit"),
        "energy_write": number(1.0, "pJ/bit"), **more,
    }  # fmt: skip
    return found if kib is None else found | {"capacity": number(kib, "KiB")}


def array(*memory: dict[str, Any], dataflow: str = "ws", side: int = 16) -> NpuPlatform:
    """Return a systolic platform that takes every pair of widths."""
    table = shipped_npu("tpu_v1").model_dump(mode="python", exclude_none=True)
    precision = table["precision"][0]
    precision |= {"weight_bits": list(WIDTHS), "activation_bits": list(WIDTHS)}
    table |= {"name": "toy", "memory": list(memory), "precision": [precision], "notes": []}
    precision["macs_per_cycle"] = number(side * side, "MAC/cycle")
    table["array"] |= {
        "dataflow": dataflow, "whole_weight_tiles": False,
        "rows": number(side, "element"), "columns": number(side, "element"),
    }  # fmt: skip
    platform = parse_platform(table, "toy.toml")
    assert isinstance(platform, NpuPlatform)
    return platform


def toy(kib: float, **more: Any) -> NpuPlatform:
    """Return an array with one buffer for everything before a DRAM."""
    return array(level("buffer", kib, **more), level("dram", None))


def read_bytes(movement: Movement, operand: str, name: str) -> float:
    return sum(
        a.read_bits / 8 for a in movement.accesses if (a.operand, a.level) == (operand, name)
    )


def chain(sizes: list[int], tail: int = 10) -> list[Unit]:
    """Return 1 x 1 convolutions over vectors of the given lengths, with their lifetimes."""
    units = []
    for index, (inputs, outputs) in enumerate(zip(sizes, [*sizes[1:], tail], strict=True)):
        layer = Layer(
            f"u{index}", Work.FULLY_CONNECTED, inputs * outputs, 1, 1, outputs, inputs, (1, 1),
            (1, outputs), inputs * outputs, 0, order=index,
        )  # fmt: skip
        given = index == 0
        tensor = Tensor(
            f"t{index}", inputs, 1, 0 if given else 1, None, given,
            (max(index - 1, 0), index), f"t{index}",
        )  # fmt: skip
        units.append(Unit(f"u{index}", (layer,), (tensor,), W8A8))
    return units


# Floors and capacity


@pytest.mark.parametrize("kib", [1.5, 4, 24])
@given(network=networks)
@settings(max_examples=40, deadline=None)
def test_no_unit_moves_less_than_it_must(kib: float, network: tuple[Unit, ...]) -> None:
    platform = toy(kib)
    selection = {unit.name: Option(4, 8) for unit in network if unit.has_choice}
    try:
        moved = movements(network, platform, selection)
    except PlatformError as error:
        assert "smallest tiles" in str(error)
        return
    for unit in network:
        movement, widths = moved[unit.name], selection.get(unit.name, W8A8)
        stored = unit.weight_elements * widths.weight_bits / 8 + 4 * unit.bias_elements
        assert read_bytes(movement, "weights", "dram") >= stored
        assert read_bytes(movement, "weights", "buffer") >= stored
        if movement.resident:
            assert read_bytes(movement, "ifmap", "dram") == 0
            continue
        live = sum(t.elements * t.reads * (t.bits or widths.activation_bits) for t in unit.tensors)
        assert read_bytes(movement, "ifmap", "dram") >= live / 8
        layers = {layer.node: layer for layer in unit.layers}
        for streamed in movement.streamed:
            nest = loop_nest(layers[streamed.node])
            # Words of the narrowest width: as many as fit, so as low a floor as any.
            floor = nest.groups * io_floor_words(nest, kib * 8192 / 4)
            words = (streamed.ifmap_bits + streamed.weight_bits + 2 * streamed.sum_bits) / 4
            assert words + nest.groups * nest.ofmap_elements >= floor


@given(network=networks, small=st.floats(1.5, 40), more=st.floats(0, 100))
@settings(max_examples=60, deadline=None)
def test_a_larger_buffer_never_moves_more(
    network: tuple[Unit, ...], small: float, more: float
) -> None:
    try:
        before = cost(network, toy(small), W8A8, [])
    except PlatformError:
        return
    after = cost(network, toy(small + more), W8A8, [])
    for less, most in zip(after.rows, before.rows, strict=True):
        assert less.memory_bytes["dram"] <= most.memory_bytes["dram"]
        assert less.energy_memory_j["dram"] <= most.energy_memory_j["dram"]
        assert less.latency_s is not None and most.latency_s is not None
        assert less.latency_s <= most.latency_s


@pytest.mark.parametrize("kib", [2, 12])
@given(network=networks)
@settings(max_examples=25, deadline=None)
def test_fewer_bits_never_move_more(kib: int, network: tuple[Unit, ...]) -> None:
    try:
        table = cost(network, toy(kib), W8A8, OPTIONS)
    except PlatformError:
        return
    for unit in table.units:
        for small in OPTIONS:
            for large in OPTIONS:
                if small.weight_bits > large.weight_bits:
                    continue
                if small.activation_bits > large.activation_bits:
                    continue
                less, more = table.row(unit, small), table.row(unit, large)
                for name in ("buffer", "dram"):
                    assert less.memory_bytes[name] <= more.memory_bytes[name]
                assert less.latency_s is not None and more.latency_s is not None
                assert less.latency_s <= more.latency_s


def test_an_operand_is_read_outside_and_written_inside() -> None:
    units = [conv("a", 32, 32, 32)]
    movement = movements(units, toy(8), {"a": W8A8})["a"]
    by = {(a.operand, a.level): (a.read_bits, a.write_bits) for a in movement.accesses}
    assert not movement.resident
    assert by["weights", "dram"][0] == by["weights", "buffer"][1]
    written = 32 * 32 * 32 * 8
    assert by["ifmap", "dram"][1] == written
    assert by["ifmap", "buffer"][1] == by["ifmap", "dram"][0] + written
    assert by["ifmap", "dram"][0] > written  # a halo at least
    table = cost(units, toy(8), W8A8, [])
    crossing = sum(sum(bits) for (_, where), bits in by.items() if where == "dram")
    assert table.rows[0].memory_bytes["dram"] == crossing / 8
    assert table.rows[0].energy_memory_j["dram"] == pytest.approx(crossing * 1e-12)


def test_the_array_reads_its_buffer_once_for_each_fold() -> None:
    # 16 rows of 512 inputs, 64 outputs on 16 x 16: four column folds stream the inputs.
    layer = Layer(
        "f", Work.FULLY_CONNECTED, 16 * 512 * 64, 1, 16, 64, 512, (1, 1), (16, 64), 64 * 512, 0
    )
    units = [Unit("f", (layer,), (Tensor("x", 16 * 512, 1, 1),), W8A8)]
    movement = movements(units, toy(256), {"f": W8A8})["f"]
    assert read_bytes(movement, "ifmap", "buffer") == 4 * 16 * 512
    streams = array(level("buffer", 256), level("dram", None), dataflow="os")
    movement = movements(units, streams, {"f": W8A8})["f"]
    assert read_bytes(movement, "weights", "buffer") == 64 * 512  # one row fold


def test_weights_without_a_buffer_come_for_every_tile_of_pixels() -> None:
    units = [conv("a", 32, 32, 32)]
    one = array(level("buffer", 8, ["activations"]), level("dram", None))
    movement = movements(units, one, {"a": W8A8})["a"]
    (streamed,) = movement.streamed
    assert streamed.weight_bits % (32 * 32 * 9 * 8) == 0
    assert read_bytes(movement, "weights", "dram") == streamed.weight_bits / 8 + 4 * 32
    two = array(
        level("buffer", 8, ["activations"]), level("filters", 12, ["weights"]), level("dram", None)
    )
    movement = movements(units, two, {"a": W8A8})["a"]
    assert read_bytes(movement, "weights", "dram") == 32 * 32 * 9 + 4 * 32


def test_two_levels_on_the_chip_have_a_border_each() -> None:
    units = [conv("a", 32, 64, 32)]
    both = array(level("near", 2), level("far", 64), level("dram", None))
    movement = movements(units, both, {"a": W8A8})["a"]
    assert [streamed.level for streamed in movement.streamed] == ["near", "far"]
    near, far = movement.streamed
    alone = movements(units, toy(64), {"a": W8A8})["a"].streamed[0]
    assert (far.ifmap_bits, far.weight_bits) == (alone.ifmap_bits, alone.weight_bits)
    assert near.ifmap_bits + near.weight_bits > far.ifmap_bits + far.weight_bits
    assert movement.resident  # 32 KiB of input fit the far one


@st.composite
def hierarchies(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Return memories of any make: one to three on the chip, a DRAM, perhaps a flash."""
    found = []
    for index in range(draw(st.integers(1, 3))):
        holds = draw(st.sampled_from([BOTH, ["weights"], ["activations"]]))
        more: dict[str, Any] = {}
        buffered = draw(st.sampled_from([None, True, False]))
        if buffered is not None:
            more["double_buffered"] = buffered
        if "weights" in holds:
            more["keeps_weights"] = draw(st.booleans())
        found.append(level(f"l{index}", draw(st.sampled_from([1.5, 6, 48])), holds, **more))
    outside = draw(
        st.sampled_from(
            [[BOTH], [["activations"], ["weights"]], [["weights"]], [BOTH, ["weights"]]]
        )
    )
    if outside == [["weights"]] and not any("activations" in x["holds"] for x in found):
        outside = [BOTH]
    return found + [level(f"far{i}", None, holds) for i, holds in enumerate(outside)]


@given(
    network=networks, memory=hierarchies(), dataflow=st.sampled_from(["os", "ws", "is"]),
    more=st.floats(1, 20),
)  # fmt: skip
@settings(max_examples=150, deadline=None)
def test_any_hierarchy_keeps_the_laws(
    network: tuple[Unit, ...], memory: list[dict[str, Any]], dataflow: str, more: float
) -> None:
    platform = array(*memory, dataflow=dataflow)
    try:
        table = cost(network, platform, W8A8, [Option(4, 4)])
    except PlatformError as error:
        assert "smallest tiles" in str(error) or "its activation tensors must fit" in str(error)
        return
    larger = [
        x | {"capacity": number(x["capacity"]["value"] * more, "KiB")} if "capacity" in x else x
        for x in memory
    ]
    after = cost(network, array(*larger, dataflow=dataflow), W8A8, [Option(4, 4)])
    units = {unit.name: unit for unit in network}
    for row, grown in zip(table.rows, after.rows, strict=True):
        unit, widths = units[row.unit], row.option or W8A8
        reads = sum(t.elements * t.reads * (t.bits or widths.activation_bits) for t in unit.tensors)
        assert sum(row.memory_bytes.values()) >= row.weight_bytes + reads / 8
        outermost = sum(row.memory_bytes[x["name"]] for x in memory if not x["on_chip"])
        assert sum(grown.memory_bytes[x["name"]] for x in memory if not x["on_chip"]) <= outermost
        assert row.latency_s is not None
        assert row.latency_s >= max(row.memory_bytes.values()) / 1e9 * (1 - 1e-12)
        assert all(size >= 0 for size in row.memory_bytes.values())
        if row.option == W8A8:
            less = table.row(row.unit, Option(4, 4))
            assert all(less.memory_bytes[name] <= size for name, size in row.memory_bytes.items())


@given(network=networks)
@settings(max_examples=40, deadline=None)
def test_a_mapping_of_its_own_keeps_the_floors(network: tuple[Unit, ...]) -> None:
    platform = load_platform("eyeriss")
    selection = {unit.name: W8A8 for unit in network if unit.has_choice}
    # The global buffer and the scratchpads of 168 elements, in 8-bit words.
    words = 108 * 1024 + 168 * (448 + 24 + 48)
    for unit, movement in zip(
        network, movements(network, platform, selection).values(), strict=True
    ):
        layers = {layer.node: layer for layer in unit.layers}
        for streamed in movement.streamed:
            nest = loop_nest(layers[streamed.node])
            if layers[streamed.node].weight_elements:
                assert streamed.weight_bits >= 8 * nest.groups * nest.weight_elements
            if not streamed.resident:
                moved = (streamed.ifmap_bits + streamed.weight_bits) / 8
                floor = nest.groups * (io_floor_words(nest, words) - nest.ofmap_elements)
                assert moved >= max(floor, nest.groups * nest.ifmap_elements)


# What stays inside


def test_intermediates_that_fit_never_leave() -> None:
    units = chain([100, 200, 300])
    moved = movements(units, toy(8), dict.fromkeys(("u0", "u1", "u2"), W8A8))
    assert [read_bytes(moved[name], "ifmap", "dram") for name in moved] == [100, 0, 0]
    assert all(movement.resident for movement in moved.values())


def test_a_tensor_leaves_where_its_neighbor_takes_the_room() -> None:
    small, large = chain([100, 200, 1000]), chain([100, 1500, 1000])
    for units, inside in ((small, [True, True, True]), (large, [True, False, False])):
        moved = movements(units, toy(2), {unit.name: W8A8 for unit in units})
        assert [moved[unit.name].resident for unit in units] == inside
    # Its own width counts as it is, its neighbors' as 8 bits.
    moved = movements(large, toy(2), {unit.name: Option(8, 2) for unit in large})
    assert [moved[unit.name].resident for unit in large] == [True, True, True]


@st.composite
def tensors_alive(draw: st.DrawFn) -> list[Unit]:
    """Return layers whose tensors live for a while, as behind a residual connection."""
    count = draw(st.integers(2, 6))
    units = []
    for index in range(count):
        inputs, outputs = draw(st.integers(1, 3000)), draw(st.integers(1, 40))
        last = draw(st.integers(index, count - 1))
        layer = Layer(
            f"u{index}", Work.FULLY_CONNECTED, inputs * outputs, 1, 1, outputs, inputs, (1, 1),
            (1, outputs), inputs * outputs, 0, order=index,
        )  # fmt: skip
        tensor = Tensor(
            f"t{index}", inputs, 1 + (last > index), 1, draw(st.sampled_from([None, 8])), False,
            (max(index - 1, 0), last), f"t{index}",
        )  # fmt: skip
        units.append(Unit(f"u{index}", (layer,), (tensor,), W8A8))
    return units


@given(units=tensors_alive(), data=st.data())
@settings(max_examples=200, deadline=None)
def test_what_is_inside_fits_whatever_the_others_chose(
    units: list[Unit], data: st.DataObject
) -> None:
    kib = 4
    chosen = {unit.name: data.draw(st.sampled_from(OPTIONS)) for unit in units}
    moved = movements(units, toy(kib), chosen)
    for step in range(len(units)):
        inside = [
            tensor.elements * (tensor.bits or chosen[unit.name].activation_bits)
            for unit in units
            for tensor in unit.tensors
            if moved[unit.name].resident and tensor.alive[0] <= step <= tensor.alive[1]
        ]
        assert sum(inside) <= kib * 8192
    # A unit's price does not depend on what the others chose.
    first = units[0].name
    others = {
        unit.name: data.draw(st.sampled_from(OPTIONS)) for unit in units if unit.name != first
    }
    assert movements(units, toy(kib), others | {first: chosen[first]})[first] == moved[first]


def test_lifetimes_of_a_network_cover_its_residual_connections() -> None:
    graph = hwsim.load("hwsim/networks/digits_cnn.onnx")
    units = workload(graph)
    tensors = [tensor for unit in units for tensor in unit.tensors]
    assert all(tensor.alive is not None for tensor in tensors)
    layers = {layer.order for unit in units for layer in unit.layers}
    longest = max(t.alive[1] - t.alive[0] for t in tensors)  # type: ignore[index]
    assert longest >= 3  # a residual waits for two convolutions
    for tensor in tensors:
        assert tensor.alive is not None
        if tensor.writes and not tensor.is_io:
            assert tensor.alive[0] in layers
            assert tensor.alive[0] < tensor.alive[1]


# Batches


@pytest.mark.parametrize("name", ["toy", "eyeriss", "tpu_v1", "nvidia_t4", "nvidia_a100"])
@given(network=networks, batch=st.integers(1, 12), more=st.integers(1, 5))
@settings(max_examples=25, deadline=None)
def test_a_larger_batch_never_costs_less_in_all(
    name: str, network: tuple[Unit, ...], batch: int, more: int
) -> None:
    platform = toy(24) if name == "toy" else load_platform(name)
    try:
        small = cost(network, platform, W8A8, [], batch)
        large = cost(network, platform, W8A8, [], batch + more)
    except PlatformError:
        return
    slack = 1 + 1e-12
    for one, other in zip(small.rows, large.rows, strict=True):
        assert one.latency_s is not None and other.latency_s is not None
        assert batch * one.energy_j <= (batch + more) * other.energy_j * slack
        assert batch * one.latency_s <= (batch + more) * other.latency_s * slack
        assert one.macs == other.macs and one.weight_bytes == other.weight_bytes
        for where, size in one.memory_bytes.items():
            assert batch * size <= (batch + more) * other.memory_bytes[where] * slack


def test_weights_are_read_once_for_a_batch() -> None:
    for name, where in (("nvidia_t4", "dram"), ("tpu_v1", "ddr3")):
        one, eight = (cost(NET, load_platform(name), W8A8, [], n).row("b", W8A8) for n in (1, 8))
        assert one.memory_bytes[where] == one.weight_bytes
        assert eight.memory_bytes[where] == one.weight_bytes / 8
        assert eight.energy_j < one.energy_j
        assert eight.latency_s is not None and one.latency_s is not None
        assert eight.latency_s < one.latency_s


@pytest.mark.parametrize("name", [n for n in names() if n not in ("eyeriss", "tpu_v1")])
def test_a_batch_changes_nothing_where_inferences_follow_each_other(name: str) -> None:
    platform = load_platform(name)
    if platform.kind != "gpu":
        assert cost(NET, platform, W8A8, [], 16).rows == cost(NET, platform, W8A8, []).rows


@pytest.mark.parametrize("batch", [0, -1, 1.5, True])
def test_a_batch_is_a_positive_integer(batch: Any) -> None:
    with pytest.raises(InputError) as caught:
        cost(NET, toy(24), W8A8, [], batch)
    assert str(caught.value) == f"batch must be a positive integer, not {batch!r}"


# Buffers and leakage


def test_double_buffering_halves_the_room() -> None:
    units = [conv("a", 32, 32, 32)]
    half = movements(units, toy(8), {"a": W8A8})
    double = movements(units, toy(16, double_buffered=True), {"a": W8A8})
    assert half == double != movements(units, toy(16), {"a": W8A8})


def test_transfers_into_a_single_buffer_are_waited_for() -> None:
    units = [conv("a", 32, 32, 32)]
    free, single = toy(16), toy(16, double_buffered=False)
    overlapped = cost(units, free, W8A8, []).rows[0]
    waiting = cost(units, single, W8A8, []).rows[0]
    assert waiting.memory_bytes == overlapped.memory_bytes
    transfer = waiting.memory_bytes["dram"] / 1e9
    inside = waiting.memory_bytes["buffer"] / 1e9
    assert overlapped.latency_s == pytest.approx(max(transfer, inside))
    assert waiting.latency_s == pytest.approx(transfer + inside)
    assert waiting.bound_by == "buffer"


def test_leakage_is_paid_for_the_whole_time() -> None:
    units = [conv("a", 32, 32, 32)]
    plain, leaking = toy(16), toy(16, leakage=number(0.5, "W"))
    before, after = (cost(units, p, W8A8, []).rows[0] for p in (plain, leaking))
    assert before.latency_s is not None and after.latency_s == before.latency_s
    assert after.energy_static_j - before.energy_static_j == pytest.approx(0.5 * before.latency_s)


def test_a_buffer_smaller_than_a_tile_is_refused() -> None:
    with pytest.raises(PlatformError) as caught:
        cost([conv("a", 8, 4, 4, 7)], toy(0.0625), W8A8, [])
    # 49 inputs, 49 weights and one sum of 32 bits.
    assert str(caught.value) == (
        "toy: unit 'a': layer 'a' must find 102 bytes of buffer for its smallest tiles, not 64"
    )


def test_cache_state_does_not_change_a_price() -> None:
    from hwsim.energy.schedule import best_schedule

    units, platform = [conv("a", 32, 32, 32), conv("b", 16, 64, 32)], toy(8)
    warm = cost(units, platform, W8A8, OPTIONS)
    best_schedule.cache_clear()
    assert cost(units, platform, W8A8, OPTIONS) == warm


def by_operand(movement: Movement) -> Mapping[tuple[str, str], int]:
    return {(a.operand, a.level): a.read_bits for a in movement.accesses}


def test_a_product_of_two_activations_streams_both() -> None:
    layer = Layer("m", Work.MATMUL, 2 * 64**3, 2, 64, 64, 64, (1, 1), (2, 64, 64), 0, 0)
    tensors = (Tensor("q", 2 * 64 * 64, 1, 1), Tensor("k", 2 * 64 * 64, 1, 1))
    unit = Unit("m", (layer,), tensors, W8A8)
    inside = movements([unit], toy(32), {"m": W8A8})["m"]
    assert inside.resident and ("weights", "dram") not in by_operand(inside)
    outside = movements([unit], toy(2), {"m": W8A8})["m"]
    assert not outside.resident
    assert by_operand(outside)["ifmap", "dram"] > 4 * 64 * 64 * 8
    assert ("weights", "dram") not in by_operand(outside)
    assert replace(outside, streamed=()) != replace(inside, streamed=())


def test_a_network_is_priced_alike_by_every_road() -> None:
    path = model_file("cifar10/resnet20.onnx", "a whole network is not priced")
    graph = hwsim.load(path)
    table = hwsim.cost(graph, "eyeriss", "W8A8", options=[])
    moved = movements(workload(graph), load_platform("eyeriss"), table.selection)
    for row in table.selected_rows:
        dram = sum(
            a.read_bits + a.write_bits for a in moved[row.unit].accesses if a.level == "dram"
        )
        assert row.memory_bytes["dram"] == dram / 8
