"""Tiles and loop orders: against every tile and order, against floors, and by laws."""

from math import sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwsim.energy.loop_nest import LoopNest, loop_nest, matrix, pixel_tiles, tile_sizes
from hwsim.energy.schedule import (
    Border,
    Room,
    Schedule,
    Stationary,
    best_schedule,
    io_floor_words,
    smallest_bits,
)
from hwsim.workload import Layer, Work
from tests.oracle import tiling

KIB = 8 * 1024


def nest_of(layer: tiling.Layer) -> LoopNest:
    """Return the oracle's layer as a nest."""
    high, wide = (tiling.spans(layer, axis, (layer.rows, layer.columns)[axis]) for axis in (0, 1))
    return LoopNest(
        1, layer.images, layer.rows, layer.columns, layer.filters, layer.channels,
        layer.kernel[0] * layer.kernel[1], (high, wide), layer.stride,
        (max(layer.kernel[0] - layer.stride[0], 0), max(layer.kernel[1] - layer.stride[1], 0)),
    )  # fmt: skip


def border_of(memories: tiling.Memories) -> Border:
    rooms = tuple(
        Room(bits, "i" in held, "w" in held, "o" in held)
        for bits, held in zip(memories.bits, memories.holds, strict=True)
    )
    return Border(
        *memories.widths, rooms, fetch_ifmap=memories.ifmap_outside,
        spill_sums=memories.spill_sums,
    )  # fmt: skip


CONV = tiling.Layer(1, 3, 3, 3, 2, (2, 2))
HOLDS = [("iwo",), ("io",), ("io", "w"), ("iw", "o"), ("wo",)]


@pytest.mark.parametrize("holds", HOLDS, ids=",".join)
@pytest.mark.parametrize("bits", [60, 90, 130, 190, 260, 400, 700])
@pytest.mark.parametrize("spill", [True, False])
def test_the_search_finds_the_optimum_of_all_tiles_and_orders(
    holds: tuple[str, ...], bits: int, spill: bool
) -> None:
    memories = tiling.Memories(
        (bits,) * len(holds), holds, (5, 3, 11), spill, "i" in "".join(holds)
    )
    found = best_schedule(nest_of(CONV), border_of(memories))
    assert (found.bits if found else None) == tiling.least_bits(CONV, memories)


@pytest.mark.parametrize(
    ("layer", "widths"),
    [
        (tiling.Layer(2, 2, 3, 2, 2, (2, 1)), (4, 4, 8)),  # a batch with a halo
        (tiling.Layer(1, 4, 3, 2, 2, (3, 2), (2, 1)), (8, 2, 16)),  # strides, wide inputs
        (tiling.Layer(1, 1, 6, 5, 3), (8, 8, 32)),  # matrices
        (tiling.Layer(1, 1, 7, 3, 5), (2, 8, 8)),
        (tiling.Layer(1, 1, 3, 7, 6), (8, 2, 4)),  # sums cheaper than weights
        (tiling.Layer(1, 1, 1, 6, 6), (8, 8, 32)),  # a vector
    ],
)
@pytest.mark.parametrize("bits", [40, 64, 100, 150, 240])
def test_the_search_is_exact_on_other_shapes(
    layer: tiling.Layer, widths: tuple[int, int, int], bits: int
) -> None:
    memories = tiling.Memories((bits,), ("iwo",), widths)
    found = best_schedule(nest_of(layer), border_of(memories))
    assert (found.bits if found else None) == tiling.least_bits(layer, memories)


def test_all_three_residences_win_somewhere() -> None:
    won = set()
    for m, n, k in ((4, 64, 64), (64, 64, 4), (64, 4, 64), (16, 16, 256)):
        for kib in (0.25, 0.5, 1, 2):
            found = best_schedule(matrix(m, n, k), Border(8, 8, 16, (Room(int(kib * KIB)),)))
            assert found is not None
            won.add(found.stationary)
    assert won == set(Stationary)


@st.composite
def nests(draw: st.DrawFn) -> LoopNest:
    """Return a convolution or a matrix of any size."""
    if draw(st.booleans()):
        return matrix(*(draw(st.integers(1, 400)) for _ in range(3)), draw(st.integers(1, 3)))
    kernel = draw(st.sampled_from([(1, 1), (2, 3), (3, 3), (5, 5), (7, 1)]))
    stride = draw(st.sampled_from([(1, 1), (2, 2), (1, 3)]))
    rows, columns = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    layer = tiling.Layer(
        draw(st.integers(1, 4)), rows, columns, draw(st.integers(1, 96)),
        draw(st.integers(1, 96)), kernel, stride,
    )  # fmt: skip
    return nest_of(layer)


borders = st.builds(
    lambda widths, bits: Border(*widths, (Room(bits),)),
    st.tuples(st.integers(2, 16), st.integers(2, 16), st.sampled_from([16, 24, 32])),
    st.integers(2000, 4_000_000),
)


def moved_words(found: Schedule, border: Border, nest: LoopNest) -> float:
    """Return inputs, weights, sums and finished outputs in words."""
    return (
        found.ifmap_bits / border.ifmap_bits
        + found.weight_bits / border.weight_bits
        + 2 * found.sum_bits / border.sum_bits
        + nest.groups * nest.ofmap_elements
    )


@given(nest=nests(), border=borders)
@settings(max_examples=300, deadline=None)
def test_no_schedule_is_below_its_floors_and_every_one_fits(nest: LoopNest, border: Border) -> None:
    found = best_schedule(nest, border)
    if found is None:
        assert smallest_bits(nest, border, border.rooms[0]) > border.rooms[0].bits
        return
    assert found.ifmap_bits >= nest.groups * nest.ifmap_elements * border.ifmap_bits
    assert found.weight_bits >= nest.groups * nest.weight_elements * border.weight_bits
    words = border.rooms[0].bits / min(border.ifmap_bits, border.weight_bits, border.sum_bits)
    assert moved_words(found, border, nest) >= nest.groups * io_floor_words(nest, words)
    tile = found.tile
    pixels = tile.images * tile.rows * tile.columns
    high = min(tile.rows * nest.step[0] + nest.halo[0], nest.plane[0])
    wide = min(tile.columns * nest.step[1] + nest.halo[1], nest.plane[1])
    inputs = tile.images * high * wide if nest.halo != (0, 0) else pixels
    used = (
        inputs * tile.channels * border.ifmap_bits
        + nest.taps * tile.filters * tile.channels * border.weight_bits
        + pixels * tile.filters * border.sum_bits
    )
    assert used <= border.rooms[0].bits


@given(nest=nests(), border=borders, more=st.integers(0, 2_000_000))
@settings(max_examples=200, deadline=None)
def test_more_capacity_never_costs_more(nest: LoopNest, border: Border, more: int) -> None:
    small = best_schedule(nest, border)
    larger = Border(
        border.ifmap_bits, border.weight_bits, border.sum_bits,
        (Room(border.rooms[0].bits + more),),
    )  # fmt: skip
    large = best_schedule(nest, larger)
    if small is not None:
        assert large is not None and large.bits <= small.bits


def test_the_floor_of_a_product_is_the_published_one() -> None:
    assert io_floor_words(matrix(128, 128, 128), 1024) == 2 * 128**3 / 32 - 2048
    # Tiles of about sqrt(S) x sqrt(S) outputs come close to it.
    found = best_schedule(matrix(512, 512, 512), Border(8, 8, 8, (Room(8 * 1089),)))
    assert found is not None and found.stationary is Stationary.OUTPUT
    floor = 2 * 512**3 / sqrt(1089) - 2 * 1089
    assert floor < found.bits / 8 + 512**2 < 1.1 * floor


def test_enough_room_means_compulsory_traffic() -> None:
    nest = LoopNest(2, 1, 14, 14, 32, 16, 9, (14, 14), (1, 1), (2, 2))
    found = best_schedule(nest, Border(8, 4, 32, (Room(64 * KIB),)))
    assert found is not None
    assert found.trips == (1, 1, 1)
    assert found.ifmap_bits == 2 * 14 * 14 * 16 * 8
    assert (found.weight_bits, found.sum_bits) == (2 * 32 * 16 * 9 * 4, 0)


def test_recurrent_weights_come_once_or_for_every_row() -> None:
    nest = matrix(20, 40, 60, sequential=True)
    whole = best_schedule(nest, Border(8, 8, 32, (Room(8 * 2620),)))
    assert whole is not None and whole.weight_bits == 8 * 2400
    small = best_schedule(nest, Border(8, 8, 32, (Room(8 * 2000),)))
    assert small is not None and small.weight_bits == 20 * 8 * 2400


def test_tile_sizes_are_the_smallest_of_every_count() -> None:
    for size in range(1, 200):
        counts = {-(-size // tile) for tile in range(1, size + 1)}
        assert sorted(-(-size // count) for count in counts) == tile_sizes(size).tolist()


def test_layers_become_nests() -> None:
    conv = Layer(
        "c", Work.CONV, 0, 1, 56 * 56, 64, 27, (3, 3), (1, 56, 56, 64), 1728, 0,
        in_shape=(1, 112, 112, 3), stride=(2, 2),
    )  # fmt: skip
    nest = loop_nest(conv)
    assert (nest.plane, nest.step, nest.halo) == ((112, 112), (2, 2), (1, 1))
    assert nest.ifmap_elements == 112 * 112 * 3 and nest.macs == 56 * 56 * 64 * 27
    spread = Layer(
        "d", Work.CONV, 0, 1, 64, 4, 18, (3, 3), (1, 8, 8, 4), 72, 0, in_shape=(1, 8, 8, 2),
        dilation=(2, 2),
    )  # fmt: skip
    assert loop_nest(spread).halo == (4, 4)
    transposed = Layer(
        "t", Work.CONV, 0, 1, 64, 36, 9, (3, 3), (1, 8, 8, 4), 324, 0, in_shape=(1, 8, 8, 9)
    )
    assert loop_nest(transposed) == matrix(64, 36, 9)


def test_a_halo_is_counted() -> None:
    nest = LoopNest(1, 1, 8, 8, 1, 1, 9, (10, 10), (1, 1), (2, 2))
    tiles = pixel_tiles(nest)
    at = int(np.flatnonzero((tiles.rows == 4) & (tiles.columns == 4))[0])
    # Four tiles of 4 x 4 outputs read 6 x 6 inputs each.
    assert tiles.count[at] == 4 and tiles.fetched[at] == 4 * 36 and tiles.inputs[at] == 36
