"""The named models of arithmetic energy, held against gate-level runs and published tables."""

import pytest

import hwsim
from hwsim import networks
from hwsim.energy.mac_cells import (
    MIXED,
    SIGNED,
    SIGNEDNESS,
    UNSIGNED,
    cell_energy_fj,
    cell_fit,
    libraries,
    toggle_energy,
)
from hwsim.energy.mac_models import Mac, anchors, mac_model, model_names, spingarn_toggles
from hwsim.energy.validation import TARGETS, Row, Target, judged, mac_energy
from hwsim.energy.validation.row import rank_correlation
from hwsim.errors import InputError
from hwsim.macs import compare_mac_models, count_toggles, price_macs
from hwsim.partition import workload
from hwsim.tables import Option
from tests.energy.reference import FOLDER, read_csv

NANGATE, OSU, SKY = "nangate45_typical", "osu018", "sky130_fd_sc_hd_tt"


def ratio(name: str) -> float:
    model = mac_model(name)
    return model.energy_j(Mac(4, 4)) / model.energy_j(Mac(8, 8))


def test_half_the_bits_do_not_quarter_a_mac() -> None:
    # fpga_rtl.md, section 5: E4/E8 with a 32-bit accumulator, and with one of 2b + 10 bits.
    assert ratio("cells_nangate45") == pytest.approx(0.52, abs=0.005)
    assert ratio("cells_osu018") == pytest.approx(0.48, abs=0.006)
    assert ratio("cells_sky130") == pytest.approx(0.51, abs=0.005)
    assert ratio("ratio") == 0.25
    for library, stated in ((NANGATE, 0.35), (OSU, 0.33), (SKY, 0.40)):
        narrow = cell_energy_fj(library, SIGNED, (4, 4, 18))
        assert narrow / cell_energy_fj(library, SIGNED, (8, 8, 26)) == pytest.approx(
            stated, abs=0.006
        )
    unsigned = {NANGATE: 0.34, OSU: 0.32, SKY: 0.44}
    for library, stated in unsigned.items():
        four, eight = (cell_energy_fj(library, UNSIGNED, (b, b, 32)) for b in (4, 8))
        assert four / eight == pytest.approx(stated, abs=0.006)


def test_fits_are_those_of_the_reference() -> None:
    stated = {
        NANGATE: (38.9, 32.8, 24.6, 0.077, 0.16),
        OSU: (1226.5, 1343.1, 654.2, 0.094, 0.25),
        SKY: (106.2, 10.9, 89.9, 0.053, 0.14),
    }
    for library, (alpha, beta, gamma, mean, worst) in stated.items():
        fit = cell_fit(library)
        assert (fit.alpha, fit.beta, fit.gamma) == pytest.approx((alpha, beta, gamma), rel=0.005)
        assert fit.points == 17
        assert (fit.mean_error, fit.worst_error) == pytest.approx((mean, worst), abs=0.005)


def test_the_shipped_table_is_the_measured_one() -> None:
    tabled = 0
    series = {"gaussian": SIGNED, "minimal_accumulator": SIGNED} | {
        "split_unsigned": UNSIGNED,
        "mixed_relu": MIXED,
    }
    for row in read_csv("mac_energy_fj.csv", 368):
        widths = (int(row["w_bits"]), int(row["a_bits"]), int(row["accumulator_bits"] or 0))
        known = row["unit"] == "mac" and row["delay_model"] == "inertial"
        if not known or row["series"] not in series or min(widths[:2]) < 3:
            continue
        assert cell_energy_fj(row["library"], series[row["series"]], widths) == float(
            row["energy_fj"]
        )
        tabled += 1
    assert tabled == 3 * (17 + 6 + 6)


@pytest.mark.parametrize("library", libraries())
@pytest.mark.parametrize("signedness", SIGNEDNESS)
def test_a_wider_unit_costs_more_but_for_a_few_percent(library: str, signedness: str) -> None:
    def energy(w: int, a: int) -> float:
        return cell_energy_fj(library, signedness, (w, a, 32))

    for w in range(2, 8):
        for a in range(2, 9):
            assert energy(w + 1, a) >= 0.9 * energy(w, a)
            assert energy(a, w + 1) >= 0.9 * energy(a, w)
    for bits in (4, 8):
        sizes = [cell_energy_fj(library, signedness, (bits, 6, acc)) for acc in (16, 24, 32)]
        assert sizes == sorted(sizes)


def test_anchors_meet_their_tables_and_state_the_square_law() -> None:
    horowitz, jouppi = anchors(45), anchors(7)
    assert [horowitz.multiply_pj(b, b) for b in (8, 32)] == pytest.approx([0.2, 3.1])
    assert [jouppi.multiply_pj(b, b) for b in (8, 32)] == pytest.approx([0.07, 1.48])
    assert [horowitz.add_pj(b) for b in (8, 12, 16, 32)] == pytest.approx([0.03, 0.04, 0.05, 0.1])
    assert [jouppi.add_pj(b) for b in (8, 32)] == pytest.approx([0.007, 0.03])
    # energy.md, section 6: 3.2 for 3.1, and 1.12 for 1.48.
    assert horowitz.square_error == pytest.approx(0.032, abs=0.001)
    assert jouppi.square_error == pytest.approx(-0.243, abs=0.001)
    assert ratio("horowitz_45nm") == pytest.approx((0.05 + 0.1) / (0.2 + 0.1))


def test_spingarns_formula() -> None:
    # energy.md, section 6, and the formula columns of toggle_counts.csv.
    assert [spingarn_toggles(Mac(b, b)) for b in (2, 4, 8)] == [24, 36, 72]
    assert [spingarn_toggles(Mac(b, b, 32, UNSIGNED)) for b in (2, 4, 8)] == [10, 24, 64]


def test_toggle_ranks_are_reached_and_energies_beat_the_square_law() -> None:
    read_csv("mac_energy_fj.csv", 368)
    verdicts = judged(list(mac_energy.toggles(FOLDER)), TARGETS)
    assert [(v.rows, v.state) for v in verdicts] == [(56, "reached")] * 3
    assert all(v.rank > 0.98 for v in verdicts)
    counted = judged(list(mac_energy.toggle_energies(FOLDER)), TARGETS)
    squares = judged(list(mac_energy.square_law(FOLDER)), TARGETS)
    for model, base in zip(counted, squares, strict=True):
        assert model.mean < 0.07 and model.worst < 0.30 and base.mean > 0.30


def test_toggle_energies_are_physical() -> None:
    for library in libraries():
        made = toggle_energy(library)
        assert min(made.partial_product, made.accumulator_input, made.register_bit) > 0
        assert made.points == 56
    # Clock energy per register bit of the runs: 313.82 fJ for 2 + 2 + 32 bits, 1.1 V.
    assert toggle_energy(NANGATE).register_bit == pytest.approx(313.82 / 36, rel=0.05)


@pytest.mark.parametrize(
    ("library", "signedness", "widths", "sentence"),
    [
        ("x", SIGNED, (8, 8, 32), f"cell library must be one of {NANGATE}, {OSU}, {SKY}, not 'x'"),
        (OSU, "both", (8, 8, 32), "signedness must be one of signed, unsigned, "
         "signed_weight_unsigned_activation, not 'both'"),
        (OSU, SIGNED, (1, 8, 32), "weight_bits must be 2 to 8, as measured in cell libraries, "
         "not 1"),
        (OSU, SIGNED, (8, 16, 32), "activation_bits must be 2 to 8, as measured in cell libraries, "
         "not 16"),
        (OSU, SIGNED, (8, 8, 64), "accumulator_bits must be at most 32, as measured in cell "
         "libraries, not 64"),
    ],
)  # fmt: skip
def test_what_was_not_measured_is_refused(
    library: str, signedness: str, widths: tuple[int, int, int], sentence: str
) -> None:
    with pytest.raises(InputError) as caught:
        cell_energy_fj(library, signedness, widths)
    assert str(caught.value) == sentence


def test_a_cost_table_says_which_model_it_used() -> None:
    graph = hwsim.load(networks.path(networks.NAMES[0]))
    units = workload(graph)
    table = hwsim.cost(graph, "ethos_u55_128", 8, options=[])
    for name in model_names():
        made = price_macs(table, units, name)
        model = mac_model(name)
        assert made.notes[0].startswith(f"Arithmetic energy by model {name}: ")
        expected = sum(unit.macs for unit in units) * model.energy_j(Mac(8, 8))
        assert made.total.energy_mac_j == pytest.approx(expected, rel=1e-12)
        assert made.total.latency_s == table.total.latency_s
        assert made.total.energy_memory_j == table.total.energy_memory_j
    with pytest.raises(InputError) as caught:
        price_macs(table, units, "bits")
    assert str(caught.value).startswith("mac model must be one of ratio, horowitz_45nm, ")
    with pytest.raises(InputError) as caught:
        price_macs(hwsim.cost(graph, "pynq_z2", 4, options=[]), units, "ratio")
    assert str(caught.value) == (
        "pynq_z2: a mac model needs a platform with energy per MAC, not one that pays board power"
    )


def test_a_comparison_holds_every_model_and_counted_toggles() -> None:
    graph = hwsim.load(networks.path(networks.NAMES[0]))
    inputs = hwsim.random_inputs(graph, 16)
    made = hwsim.quantize(graph, hwsim.calibrate(graph, inputs), 4)
    counted = count_toggles(made, hwsim.random_inputs(made, 1), operations=1 << 12)
    found = {one.model: one for one in compare_mac_models(workload(made), None, counted)}
    assert list(found)[: len(model_names())] == list(model_names())
    assert len(found) == len(model_names()) + 3
    assert found["ratio"].ratio == pytest.approx(0.25)
    assert all(0.2 < (one.ratio or 0) < 0.7 for one in found.values())
    wide = compare_mac_models(workload(made), Option(16, 16))
    assert [one.energy_j is None for one in wide] == [False] * 3 + [True] * 3 + [False]
    with pytest.raises(InputError) as caught:
        table = hwsim.cost(made, "nvidia_t4", options=[])
        price_macs(table, workload(made), "toggles_osu018", counted[1:])
    assert str(caught.value).startswith(
        "toggles_osu018 must have counted every layer with multiply-accumulates, not all but "
    )


def test_ranks_and_differences_are_judged() -> None:
    rows = [
        Row("x", str(i), m, p, "1") for i, (m, p) in enumerate([(1, 5), (2, 5), (3, 9), (4, 1)])
    ]
    # Ranks 1 2 3 4 against 2.5 2.5 4 1: Spearman by hand, -1.5 / sqrt(5 * 4.5).
    (found,) = judged(rows, [Target("x", "rank", rank=0.5)])
    assert found.rank == pytest.approx(-1.5 / 22.5**0.5)
    assert found.state == "missed"
    assert found.mean_difference == (4 + 3 + 6 + 3) / 4
    assert judged(rows, [Target("x", "rank", rank=-0.5)])[0].state == "reached"
    assert judged(rows, [Target("x", "mean", mean_difference=3.9)])[0].state == "missed"
    assert judged(rows, [Target("x", "mean", mean_difference=4.0)])[0].state == "reached"


def test_toggles_rank_data_at_one_width_where_widths_alone_cannot() -> None:
    read_csv("mac_energy_fj.csv", 368)
    for library in libraries():
        rows = [row for row in mac_energy.toggles(FOLDER) if row.against.endswith(library)]
        measured = [row.measured for row in rows]
        sizes = [row.case.split()[0].split("+")[0].split("x") for row in rows]
        square = rank_correlation(measured, [int(w) * int(a) for w, a in sizes])
        assert square < 0.9
        for bits in range(2, 9):
            own = [row for row in rows if row.case.startswith(f"{bits}x{bits}+32 ")]
            assert len(own) == 6
            rank = rank_correlation([r.measured for r in own], [r.predicted for r in own])
            assert rank > 0.85
