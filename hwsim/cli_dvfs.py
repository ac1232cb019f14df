"""The verb about voltage and frequency: dvfs."""

from dataclasses import asdict
from typing import Annotated

import typer

from hwsim.cli_choose import bits_of
from hwsim.cli_options import AsJson, BitsOption, Model, PlatformName, print_json


def dvfs(
    model: Model,
    platform: PlatformName = "gap9",
    bits: BitsOption = None,
    max_latency: Annotated[
        str | None, typer.Option(help="Deadline of an inference, as 1.5ms.")
    ] = None,
    per_layer: Annotated[
        bool, typer.Option("--per-layer", help="Let every unit run at its own point.")
    ] = False,
    switch_time: Annotated[
        str | None, typer.Option(help="Time of a change of point, as 100us; the platform's.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Price a network at every published voltage and frequency; name the one of least energy."""
    import hwsim
    from hwsim.units import format_quantity, parse_quantity

    deadline = None if max_latency is None else parse_quantity(max_latency, "s", "max_latency")
    wait = None if switch_time is None else parse_quantity(switch_time, "s", "switch_time")
    found = hwsim.operating_points(
        hwsim.load(model),
        platform,
        bits_of(bits),
        max_latency=deadline,
        per_layer=per_layer,
        switch_time=wait,
    )
    if as_json:
        print_json(asdict(found))
        return
    print(f"{'point':12} {'clock':>10} {'core':>8} {'latency':>10} {'energy':>10} {'leakage':>10}")
    for point in found.points:
        mark = "  <- least energy" if point.point == found.chosen else ""
        if mark and deadline is not None:
            mark = f"{mark} within {format_quantity(deadline, 's')}"
        print(
            f"{point.point:12} {format_quantity(point.clock_hz, 'Hz'):>10} "
            f"{format_quantity(point.volts, 'V'):>8} {format_quantity(point.latency_s, 's'):>10} "
            f"{format_quantity(point.energy_j, 'J'):>10} "
            f"{format_quantity(point.leakage_j, 'J'):>10}{mark}"
        )
    if found.schedule is None:
        return
    schedule = found.schedule
    print(
        f"per layer: {format_quantity(schedule.joules, 'J')} in "
        f"{format_quantity(schedule.seconds, 's')}, {schedule.switches} switches"
    )
    start = 0
    for index in range(1, len(schedule.points) + 1):
        if index == len(schedule.points) or schedule.points[index] != schedule.points[start]:
            first, last = _short(found.units[start]), _short(found.units[index - 1])
            print(f"  {schedule.points[start]:12} {first} to {last}")
            start = index


def _short(name: str) -> str:
    """Return the end of a long name."""
    return name if len(name) <= 40 else f"…{name[-39:]}"
