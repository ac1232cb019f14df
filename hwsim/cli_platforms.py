"""Verbs about platform files: list, show, check, schema, validate."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from hwsim.cli_options import AsJson, print_json


def list_platforms(as_json: AsJson = False) -> None:
    """List the shipped platforms."""
    import hwsim
    from hwsim.platforms.loader import names

    loaded = {name: hwsim.load_platform(name) for name in names()}
    if as_json:
        print_json({name: [p.kind, p.title] for name, p in loaded.items()})
        return
    for name, platform in loaded.items():
        print(f"{name:16} {platform.kind:9} {platform.title}")


def show_platform(name: str, as_json: AsJson = False) -> None:
    """Show every number of a platform with its unit, range and source."""
    import hwsim
    from hwsim.platform import quantities

    platform = hwsim.load_platform(name)
    if as_json:
        print(platform.model_dump_json(indent=2))
        return
    print(f"{platform.name} ({platform.kind}): {platform.title}")
    for field, quantity in quantities(platform).items():
        span = "" if quantity.low is None else f" [{quantity.low:g} to {quantity.high:g}]"
        print(f"{field}: {quantity.value:g} {quantity.unit}{span} ({quantity.mark})")
        print(f"    {quantity.source}")
    for note in platform.notes:
        print(f"note: {note}")


def check_platforms(files: list[Path]) -> None:
    """Check platform files against the schema."""
    import hwsim

    for file in files:
        platform = hwsim.load_platform(file)
        print(f"{file}: {platform.name} is a valid {platform.kind}")


def print_schema() -> None:
    """Print the JSON Schema of a platform file."""
    from hwsim.platform import json_schema

    print_json(json_schema())


def validate_platforms(
    data: Annotated[
        Path, typer.Option(help="Folder of reference data: same file names and columns.")
    ] = Path("..", "shared", "reference", "data"),
    only: Annotated[
        list[str] | None, typer.Option("--only", help="Run this comparison alone; repeatable.")
    ] = None,
    rows: Annotated[bool, typer.Option("--rows", help="Show every row, not the summary.")] = False,
    as_json: AsJson = False,
) -> None:
    """Compare predictions with published and recorded figures: measured, predicted, error.

    Exit status 1 where a target is missed.
    """
    from hwsim.energy.validation import COMPARISONS, TARGETS, judged
    from hwsim.errors import InputError

    for name in only or ():
        if name not in COMPARISONS:
            raise InputError(f"comparison must be one of {', '.join(COMPARISONS)}, not {name!r}")
    if not data.is_dir():
        raise InputError(f"data must be a folder, not {str(data)!r}")
    wanted = [name for name in COMPARISONS if not only or name in only]
    found = [row for name in wanted for row in COMPARISONS[name](data)]
    verdicts = judged(found, TARGETS)
    if as_json:
        print_json(
            {
                "rows": [asdict(row) | {"error": row.error} for row in found],
                "summary": [asdict(verdict) for verdict in verdicts],
            }
        )
    else:
        if rows:
            for row in found:
                held = "" if row.held_out else "  (fitted on it)"
                print(
                    f"{row.against:32.32} {row.case:40.40} {row.measured:12.6g} "
                    f"{row.predicted:12.6g} {row.unit:8} {100 * row.error:+8.2f} %{held}"
                )
        for verdict in verdicts:
            print(
                f"{verdict.against:56.56}{verdict.rows:6} rows  mean {100 * verdict.mean:6.2f} %  "
                f"worst {100 * verdict.worst:7.2f} %  "
                f"difference {verdict.mean_difference:8.3g}  rank {verdict.rank:5.2f}  "
                f"{verdict.state:8} {verdict.text}"
            )
    if any(verdict.state == "missed" for verdict in verdicts):
        raise typer.Exit(1)


def softmax_matrix(as_json: AsJson = False) -> None:
    """Compare softmax units on an FPGA: LUTs, errors, and the ratios of all baselines.

    There is no one factor between two softmax methods: each ratio is for one normalizer, one
    width and one way to hold constants, and says nothing without both errors.
    """
    from hwsim.energy.softmax_units import NORMALIZERS, ratio_matrix, softmax_units

    units = softmax_units()
    numerators = tuple(dict.fromkeys(u.exp for u in units if not u.exp.startswith("clip")))
    denominators = tuple(dict.fromkeys(u.exp for u in units if u.exp.startswith("clip")))
    ratios = ratio_matrix(numerators, denominators)
    if as_json:
        print_json(
            {
                "units": [asdict(unit) for unit in units],
                "ratios": [
                    {
                        "numerator": ratio.numerator.exp,
                        "denominator": ratio.denominator.exp,
                        "normalizer": ratio.numerator.normalizer,
                        "lc_ratio": ratio.lc,
                    }
                    for ratio in ratios
                ],
            }
        )
        return
    print("Whole softmax units, 8-bit codes, Xilinx 7 series, yosys 0.70, no DSP blocks: LUT sites")
    print("(and sites with DSP blocks + blocks, where synthesized); error of exp relative to 1.")
    print(
        f"{'exp':10}{'method':30}{'constants':10}{'bits':>5}"
        f"{'divide':>9}{'recip':>7}{'shift':>7}{'recip with DSP':>16}{'max error':>11}{'mean':>9}"
    )
    found = {(u.exp, u.normalizer, u.dsp_allowed): u for u in units}
    for name in dict.fromkeys(unit.exp for unit in units):
        plain = [found[name, normalizer, False] for normalizer in NORMALIZERS]
        dsp = found.get((name, NORMALIZERS[1], True))
        blocks = f"{dsp.logic.lc:.0f} + {dsp.logic.dsp:.0f}" if dsp else ""
        unit = plain[0]
        most = "not measured" if unit.max_error is None else f"{unit.max_error:.5f}"
        mean = "" if unit.mean_error is None else f"{unit.mean_error:.5f}"
        cells = "".join(f"{u.logic.lc:{w}.0f}" for u, w in zip(plain, (9, 7, 7), strict=True))
        print(
            f"{unit.exp:10}{unit.method:30}{unit.parameters:10}{unit.exp_bits:5}"
            f"{cells}{blocks:>16}{most:>13}{mean:>9}"
        )
    print("\nRatios of sites, row / column, with divide, recip, shift:")
    print(f"{'':10}" + "".join(f"{name:>18}" for name in denominators))
    for top in numerators:
        cells = ""
        for bottom in denominators:
            three = [r.lc for r in ratios if (r.numerator.exp, r.denominator.exp) == (top, bottom)]
            cells += f"{' '.join(f'{ratio:.2f}' for ratio in three):>18}"
        print(f"{top:10}{cells}")
    values = [ratio.lc for ratio in ratios]
    print(f"From {min(values):.2f} to {max(values):.2f} over {len(values)} pairings.")
