from dataclasses import replace

import numpy as np
import pytest

from hwsim.energy import cost, fpga
from hwsim.energy.circuits import Build, foldings, shape_of
from hwsim.energy.luts import xc7
from hwsim.energy.packing import packing
from hwsim.errors import BudgetError, PlatformError
from hwsim.platform import FpgaPlatform
from hwsim.platforms import load_platform
from hwsim.tables import Option
from hwsim.workload import Layer, Tensor, Unit, Work
from tests.energy.test_cost import NET, W8A8, conv

NAMES = ("pynq_z2", "zcu104")


def platform_of(name: str) -> FpgaPlatform:
    platform = load_platform(name)
    assert platform.kind == "fpga"
    return platform


def streaming(work: Work, rows: int, width: int) -> Unit:
    shape = (1, rows, width)
    layer = Layer(work.value, work, 0, 1, rows * width, 1, 1, (1, 1), shape, 0, 0)
    tensor = Tensor(f"{work.value}:in", rows * width, 1, 1, 8)
    return Unit(work.value, (layer,), (tensor,), None, has_choice=False)


def matrix_at(platform: FpgaPlatform, unit: Unit, option: Option, **labels: int) -> dict[str, int]:
    """Return (part -> sites, part + " dsp" -> blocks) of one folding."""
    way = foldings(shape_of(unit.layers[0], option), Build.of(platform))
    where = np.all([way.labels[name] == value for name, value in labels.items()], axis=0)
    index = int(np.flatnonzero(where)[0])
    found = {name: int(need.lc[index]) for name, need in way.parts.items()}
    return found | {f"{name} dsp": int(need.dsp[index]) for name, need in way.parts.items()}


@pytest.mark.parametrize("name", NAMES)
def test_the_parts_add_up_to_the_table(name: str) -> None:
    platform = platform_of(name)
    net = [*NET, streaming(Work.SOFTMAX, 4, 10), streaming(Work.NORM, 4, 16)]
    selection = {"a": W8A8, "b": Option(4, 8), "c": Option(4, 4)}
    table = cost(net, platform, selection, [])
    found = fpga.explain(platform, net, selection)
    for row in table.selected_rows:
        parts = [part for part in found.parts if part.unit == row.unit]
        assert sum(part.lut for part in parts) == row.lut
        assert sum(part.dsp for part in parts) == row.dsp
        assert sum(part.bram_18k for part in parts) == row.bram_18k
    assert found.used == {
        "lut": table.total.lut, "dsp": table.total.dsp, "bram_18k": table.total.bram_18k
    }  # fmt: skip
    assert all(found.used[key] <= found.budget[key] for key in found.used)
    assert found.used["lut"] <= found.sites_high
    assert found.sites_high >= 4 * sum(part.carry4 for part in found.parts)
    assert found.interval_s == table.total.latency_s
    slowest = max(part.cycles for part in found.parts)
    assert found.interval_s == slowest / platform.clock.si
    all_cycles = {part.node: part.cycles for part in found.parts}
    assert slowest <= found.first_result_s * platform.clock.si <= sum(all_cycles.values())
    assert found.unpriced == ("p",)
    assert [part.finn_lut is None for part in found.parts if part.part == "softmax"] == [True]


def test_a_matrix_unit_is_its_measured_circuits() -> None:
    # 8x8, SIMD 4: one synthesized dot product of 4 per output; sums of 8 reach +2^17: 19 bits.
    platform = platform_of("pynq_z2")
    unit = conv("x", 8, 16, 8, 1)
    way = matrix_at(platform, unit, W8A8, pe=2, simd=4, dsp=0, distributed=1)
    dot = xc7().dot_product(8, 8, 4, 19)
    assert way["dot products"] == int(np.ceil(2 * dot.lc))
    assert way["weights"] == 2 * 4 * 8  # depth 16: one LUT per bit
    assert way["control"] == 300
    blocks = matrix_at(platform, unit, W8A8, pe=2, simd=4, dsp=1, distributed=1)
    assert packing(8, 8, 25, 18).products == 2
    assert blocks["dot products dsp"] == 4
    assert blocks["dot products"] < way["dot products"]


def test_channels_that_read_their_own_input_share_no_dsp_block() -> None:
    platform = platform_of("zcu104")
    layer = Layer("d", Work.DEPTHWISE, 16 * 9 * 9, 16, 9, 1, 9, (3, 3), (1, 3, 3, 16), 144, 16)
    unit = Unit("d", (layer,), (Tensor("d:in", 400, 1, 1),), W8A8)
    found = matrix_at(platform, unit, W8A8, pe=16, simd=1, dsp=1)
    assert found["dot products dsp"] == 16


def test_softmax_and_normalization_are_copies_of_measured_units() -> None:
    platform = platform_of("pynq_z2")
    net = [streaming(Work.SOFTMAX, 1, 10), streaming(Work.NORM, 1, 10)]
    found = fpga.explain(platform, net, {})
    assert [(part.part, part.lut, part.dsp) for part in found.parts] in (
        [("softmax", 128, 1), ("layer norm", 130, 7)],
        [("softmax", 559, 0), ("layer norm", 2046, 0)],
        [("softmax", 128, 1), ("layer norm", 2046, 0)],
        [("softmax", 559, 0), ("layer norm", 130, 7)],
    )
    assert [part.cycles for part in found.parts] == [30, 20]  # three passes and two


def test_more_of_a_part_is_never_slower() -> None:
    platform, seconds = platform_of("pynq_z2"), []
    for factor in (0.25, 0.5, 1, 2, 4):
        fabric = platform.fabric.model_copy(
            update={
                name: getattr(platform.fabric, name).model_copy(
                    update={"value": int(getattr(platform.fabric, name).value * factor)}
                )
                for name in ("lut", "dsp", "bram_18k")
            }
        )
        part = platform.model_copy(update={"fabric": fabric})
        seconds.append(cost(NET, part, W8A8, []).total.latency_s)
    assert seconds == sorted(seconds, key=lambda value: -(value or 0.0))
    assert seconds[0] != seconds[-1]


def test_a_part_smaller_than_one_multiplier_per_layer_is_refused() -> None:
    platform = platform_of("pynq_z2")
    luts = platform.fabric.lut.model_copy(update={"value": 1000})
    small = platform.model_copy(update={"fabric": platform.fabric.model_copy(update={"lut": luts})})
    with pytest.raises(BudgetError) as caught:
        cost(NET, small, W8A8, [])
    sentence = str(caught.value)
    assert sentence.startswith("pynq_z2: lut must be at most 700 (the part's closure limit), not ")
    assert sentence.endswith("use narrower weights or a larger part")


def test_a_softmax_that_nobody_measured_is_refused() -> None:
    platform = platform_of("pynq_z2")
    other = platform.dataflow.model_copy(update={"softmax_exp": "taylor"})
    with pytest.raises(PlatformError, match="^pynq_z2: softmax must be a measured pair"):
        cost([streaming(Work.SOFTMAX, 1, 10)], platform.model_copy(update={"dataflow": other}), {})


def test_a_power_of_two_requantizer_is_the_smaller_one() -> None:
    platform = platform_of("pynq_z2")
    shift = platform.dataflow.model_copy(update={"requantizer": "power_of_two"})
    other = platform.model_copy(update={"dataflow": shift})
    unit = replace(conv("x", 8, 16, 64), native=W8A8)
    dyadic, power = (
        matrix_at(p, unit, W8A8, pe=1, simd=1, dsp=0)["requantize"] for p in (platform, other)
    )
    assert power < 0.2 * dyadic


def test_the_shipped_tables_are_complete() -> None:
    table = xc7()
    assert len(table.dots) >= 6 and len(table.requantizers) >= 6
    for series in (*table.multipliers.values(), *table.macs.values()):
        assert len(series.points) >= 18


def test_flip_flops_are_those_of_the_syntheses_or_not_stated() -> None:
    platform = platform_of("pynq_z2")
    net = [conv("x", 8, 16, 8, 1), streaming(Work.SOFTMAX, 1, 10), streaming(Work.NORM, 1, 10)]
    for dsp in (0, 1):  # sums of 8 products reach +2^17: an accumulator of 19 bits per PE
        way = foldings(shape_of(net[0].layers[0], W8A8), Build.of(platform))
        labels = {"pe": 2, "simd": 4, "dsp": dsp, "distributed": 0}
        where = np.all([way.labels[name] == value for name, value in labels.items()], axis=0)
        index = int(np.flatnonzero(where)[0])
        stated = {
            name: None if need.ff is None else int(need.ff[index])
            for name, need in way.parts.items()
        }
        assert stated == {"dot products": 38, "weights": None, "requantize": 0, "control": None}
        assert way.ff[index] == 38
    found = fpga.explain(platform, net, {"x": W8A8})
    streams = {(part.part, part.dsp): part.ff for part in found.parts if part.unit != "x"}
    for (part, dsp), ff in streams.items():  # fpga_rtl.md: LayerNorm 225, the pair of softmax 152
        assert ff == {"softmax": 152 if not dsp else ff, "layer norm": 186 if dsp else 225}[part]
    table = cost(net, platform, W8A8, [])
    assert table.total.ff == found.ff == sum(part.ff or 0 for part in found.parts)
    assert cost(NET, load_platform("ethos_u55_128"), W8A8, []).total.ff == 0


def test_synthesized_dot_products_hold_their_accumulator_alone() -> None:
    """What the flip-flops of a matrix unit rest on."""
    for (_, _, _, accumulator), logic in xc7().dots.items():
        assert logic.ff == accumulator
