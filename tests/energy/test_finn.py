from hwsim.energy.finn import MatrixUnit
from tests.energy.reference import read_csv


def bits(name: str) -> tuple[int, bool]:
    """Return width and signedness of a FINN type; BIPOLAR is one signed bit."""
    if name == "BIPOLAR":
        return 1, True
    return int(name.removeprefix("U").removeprefix("INT")), not name.startswith("U")


def unit_of(row: dict[str, str]) -> MatrixUnit:
    depthwise = row["op"].startswith("VVAU")
    vectors = 1
    for size in row["num_input_vectors"].split("x"):
        vectors *= int(size)
    high, wide = (int(size) for size in (row["kernel"] or "1x1").split("x"))
    activation_bits, signed = bits(row["act_type"])
    active = row["no_activation"] == "0"
    return MatrixUnit(
        mw=high * wide if depthwise else int(row["mw"]),
        mh=int(row["channels"] if depthwise else row["mh"]),
        pe=int(row["pe"]),
        simd=int(row["simd"]),
        vectors=vectors,
        weight_bits=bits(row["weight_type"])[0],
        activation_bits=activation_bits,
        activation_signed=signed,
        accumulator_bits=bits(row["acc_type"])[0],
        output_bits=bits(row["out_type"])[0] if active else None,
        depthwise=depthwise,
        dsp=row["res_type"] == "dsp",
        rtl=row["op"].endswith("rtl"),
        mem_mode=row["mem_mode"],  # type: ignore[arg-type]
        ram_style=row["ram_style"],  # type: ignore[arg-type]
        thresholds_distributed=row["ram_style_thresholds"] == "distributed",
    )


def test_every_golden_row_is_reproduced_exactly() -> None:
    rows = read_csv("finn_goldens.csv", 83)
    assert len(rows) >= 83
    for row in rows:
        unit = unit_of(row)
        versal = unit.rtl and row["fpga_part"].startswith("xcvc")
        got = {
            "lut": unit.lut,
            "dsp": unit.dsp58_blocks if versal else unit.dsp_blocks,
            "bram_18k": unit.bram_18k,
            "uram": unit.uram,
            "cycles": unit.cycles,
        }
        assert got == {key: int(row[key]) for key in got}, row


def test_the_four_units_of_the_published_network() -> None:
    # FINN 39f0c9a, end-to-end test of the 600-64-64-64-1 network: 7899 LUT, 36 BRAM18 in all.
    shapes = (  # mw, mh, pe, simd, activation bits, signed, accumulator bits
        (600, 64, 32, 15, 1, True, 9),
        (64, 64, 4, 16, 2, False, 8),
        (64, 64, 4, 16, 2, False, 7),
        (64, 1, 1, 1, 2, False, 7),
    )
    units = [
        MatrixUnit(mw, mh, pe, simd, 1, 2, width, signed, accumulator)
        for mw, mh, pe, simd, width, signed, accumulator in shapes
    ]
    assert sum(unit.lut for unit in units) == 7899
    assert sum(unit.bram_18k for unit in units) == 36
    assert [unit.cycles for unit in units] == [80, 64, 64, 64]
