import csv
from itertools import product

import pytest

from hwsim.energy.finn import MatrixUnit
from hwsim.energy.luts import (
    MERGE_LC,
    MERGE_LUT,
    TABLE,
    Multiplier,
    adder_tree_bits,
    dsp_blocks,
    merge_factors,
    merged,
    shipped_rows,
    table_of,
    xc7,
)
from hwsim.energy.softmax_units import NORMALIZERS, ratio_matrix, softmax_unit, softmax_units
from hwsim.energy.validation import COMPARISONS, TARGETS, judged
from hwsim.energy.validation.fpga import INTERPOLATED
from hwsim.energy.validation.row import quantile
from hwsim.errors import InputError
from tests.energy.reference import FOLDER, read_csv


def test_every_comparison_reaches_its_target() -> None:
    read_csv("luts_xc7.csv", 197)
    read_csv("finn_goldens.csv", 83)
    names = ("finn", "luts", "dot_products", "requantizers")
    rows = [row for name in names for row in COMPARISONS[name](FOLDER)]
    verdicts = {verdict.against: verdict for verdict in judged(rows, TARGETS)}
    assert {verdict.state for verdict in verdicts.values()} <= {"reached", "reported"}
    assert verdicts["FINN 39f0c9a estimates"].worst == 0
    assert verdicts["FINN 39f0c9a estimates"].rows == 5 * 83
    assert verdicts[INTERPOLATED].rows == 288


def test_other_data_is_judged_and_missing_data_is_nothing(tmp_path) -> None:  # type: ignore[no-untyped-def]
    assert not [row for name in COMPARISONS for row in COMPARISONS[name](tmp_path)]
    rows = read_csv("luts_xc7.csv", 197)
    for row in rows:
        row["lc"] = str(2 * int(row["lc"]))
    with (tmp_path / "luts_xc7.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    verdicts = judged(list(COMPARISONS["luts"](tmp_path)), TARGETS)
    assert {verdict.state for verdict in verdicts} == {"missed"}


def test_the_parts_of_a_dot_product_exceed_it_as_published() -> None:
    # Reference, "Dot product composition": sum of the parts over the synthesis.
    published = {
        (4, 4, 4): 24, (4, 8, 8): 19, (8, 8, 4): 20, (8, 8, 16): 9, (2, 8, 16): 21, (6, 6, 8): 16,
    }  # fmt: skip
    table = xc7()
    for (w, a, length), percent in published.items():
        multipliers, adders, accumulator = table.dot_terms(w, a, length, 24)
        parts = multipliers.lc + adders + accumulator
        assert round(100 * (parts / table.dots[w, a, length, 24].lc - 1)) == percent


def test_the_merge_factors_are_those_of_the_table() -> None:
    lut, lc = merge_factors(xc7())
    assert lut == pytest.approx(MERGE_LUT, abs=2e-3) and lc == pytest.approx(MERGE_LC, abs=2e-3)


def test_dot_products_of_the_table_are_predicted_without_themselves() -> None:
    # All of the table's, not only the reference's: up to 32 products.
    table = xc7()
    for key, measured in table.dots.items():
        lut, lc = merge_factors(table, key)
        assert merged(table.dot_terms(*key), lut, lc).lc == pytest.approx(measured.lc, rel=0.15)


def test_pairs_synthesized_later_are_predicted_from_the_earlier_ones() -> None:
    # The reference's 18 pairs alone, asked for every pair that was synthesized afterwards.
    rows = shipped_rows(TABLE)
    early = table_of([row for row in rows if row["source"] == "reference"])
    errors = []
    for row in rows:
        unit, _, kind = row["unit"].partition("_")
        if row["source"] == "reference" or unit not in ("multiplier", "mac"):
            continue
        w, a = int(row["w_bits"]), int(row["a_bits"])
        if unit == "mac":
            logic = early.mac(w, a, int(row["accumulator_bits"]), Multiplier(kind))
        else:
            logic = early.multiplier(w, a, Multiplier(kind), signed=row["signed"] == "1")
        errors += [abs(getattr(logic, name) / int(row[name]) - 1) for name in ("lut", "lc")]
    assert len(errors) > 500
    assert quantile(errors, 0.5) <= 0.08 and quantile(errors, 0.95) <= 0.20


def test_an_adder_tree_grows_a_bit_per_level() -> None:
    assert adder_tree_bits(8, 1) == 0
    assert adder_tree_bits(8, 2) == 9
    assert adder_tree_bits(8, 4) == 9 + 9 + 10
    assert adder_tree_bits(8, 5) == 9 + 9 + 10 + 11


@pytest.mark.parametrize("kind", Multiplier)
def test_wider_operands_never_take_fewer_sites(kind: Multiplier) -> None:
    # Asked of the MAC with its minimal accumulator: the one that energies use.
    for w, a in product(range(2, 9), repeat=2):
        here = xc7().mac(w, a, w + a + 10, kind).lc
        if w < 8:
            assert here <= xc7().mac(w + 1, a, w + a + 11, kind).lc
        if a < 8:
            assert here <= xc7().mac(w, a + 1, w + a + 11, kind).lc


def test_operands_of_a_row_multiplier_keep_their_order() -> None:
    table = xc7()
    assert table.multiplier(2, 8).lc == 17 and table.multiplier(8, 2).lc == 11
    assert table.multiplier(8, 16).lc == 122 and table.multiplier(16, 8).lc == 110


def test_what_was_not_synthesized_lies_between_its_neighbors() -> None:
    table = xc7().without((8, 8))
    for kind in Multiplier:
        low, high = table.multiplier(7, 7, kind).lc, table.multiplier(16, 16, kind).lc
        assert low < table.multiplier(8, 8, kind).lc < high
        assert high < table.multiplier(24, 24, kind).lc < table.multiplier(32, 32, kind).lc


def test_finn_describes_other_tools_and_stands_above_row_multipliers() -> None:
    # Reference, section 2: FINN's formula overestimates row multipliers.
    for bits in (4, 5, 6, 7, 8, 16):
        width = 2 * bits
        unit = MatrixUnit(1, 1, 1, 1, 1, bits, bits, accumulator_bits=1)
        finn = (unit.lut - 300) / 1.1 - width - 1
        assert finn > xc7().multiplier(bits, bits).lc


@pytest.mark.parametrize(
    ("bits", "blocks"), [((8, 8), 1), ((25, 18), 1), ((18, 25), 1), ((32, 18), 2)]
)
def test_dsp_blocks(bits: tuple[int, int], blocks: int) -> None:
    assert dsp_blocks(*bits) == blocks


def test_blocks_of_synthesized_requantizers_are_counted() -> None:
    for (accumulator, multiplier, dsp), logic in xc7().requantizers.items():
        if dsp:
            assert dsp_blocks(accumulator, multiplier + 1) == logic.dsp


def test_widths_out_of_range_are_refused() -> None:
    with pytest.raises(InputError, match=r"^w_bits must be in \[1, 32\] for a multiplier, not 0$"):
        xc7().multiplier(0, 8)
    with pytest.raises(InputError, match=r"^a_bits must be in \[1, 32\] for a multiplier, not 33$"):
        xc7().mac(8, 33, 50)


def test_the_softmax_matrix_is_the_published_one() -> None:
    # Reference, section 4: ratios with divide, reciprocal, shift.
    tops = ("rom16", "shift_c", "shift_rt", "ibert_c", "ibert_rt", "b2_c", "poly3_c", "pwl4")
    bottoms = ("clip_c", "clip_p2", "clip_rt", "clip8_p2")
    ratios = [ratio.lc for ratio in ratio_matrix(tops, bottoms)]
    assert len(ratios) == 96
    assert (round(min(ratios), 2), round(max(ratios), 2)) == (0.85, 7.22)
    assert not any(2.0 < ratio < 2.2 for ratio in ratios)
    rom = [round(ratio.lc, 2) for ratio in ratio_matrix(["rom16"], ["clip_c"])]
    assert rom == [1.08, 1.06, 1.23]


def test_softmax_units_carry_their_errors() -> None:
    assert softmax_unit("clip_p2", NORMALIZERS[0]).max_error == pytest.approx(0.570, abs=5e-4)
    assert softmax_unit("rom16", NORMALIZERS[1]).logic.lc == 559
    assert softmax_unit("rom16", NORMALIZERS[1], dsp_allowed=True).logic.dsp == 1
    assert {unit.max_error is None for unit in softmax_units() if unit.exp == "ram16"} == {True}
    with pytest.raises(InputError, match=r"^softmax must be a measured pair .* not 'taylor' with"):
        softmax_unit("taylor", NORMALIZERS[0])
