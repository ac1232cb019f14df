"""Tables of a made-up network with the long names that exporters write."""

from hwsim.tables import Allocation, CostTable, Front, Option, SensitivityTable, UnitCost

OPTIONS = tuple(Option(w, a) for w, a in ((2, 8), (4, 8), (8, 8), (16, 16)))


def unit_names(count: int) -> tuple[str, ...]:
    return tuple(
        f"/layer{i // 4 + 1}/layer{i // 4 + 1}.{i // 2 % 2}/conv{i % 2 + 1}/Conv_output_0"
        for i in range(count)
    )


def costs(count: int = 20, *, lut: int = 0, timed: bool = True) -> CostTable:
    rows = [
        UnitCost(
            unit, option, macs := 10_000 * (index + 3), macs * option.weight_bits * 1.1e-14,
            {"sram": macs * 1e-14, "dram": macs * option.weight_bits * 3e-14}, macs * 1e-15,
            macs / 3e9 if timed else None, "compute" if timed else "", macs / 7, macs / 9,
            {"sram": macs / 3, "dram": macs / 11}, lut=lut,
        )
        for index, unit in enumerate(unit_names(count))
        for option in OPTIONS
    ]  # fmt: skip
    pool = UnitCost(
        "/pool", None, 0, 0.0, {"sram": 2e-10}, 1e-12, 1e-6 if timed else None,
        "sram" if timed else "", 0.0, 64.0, {"sram": 64.0},
    )  # fmt: skip
    selection = {u: OPTIONS[i % len(OPTIONS)] for i, u in enumerate(unit_names(count))}
    return CostTable("npu_small", (*rows, pool), selection, notes=("Weights stay [on] chip.",))


def scores(count: int = 5) -> SensitivityTable:
    values = {
        (unit, option): 0.1 * (index + 1) / option.weight_bits
        for index, unit in enumerate(unit_names(count))
        for option in OPTIONS
    }
    return SensitivityTable("hessian", values, 256, "ab" * 32, "cd" * 32)


def front(count: int = 30, units: int = 4) -> Front:
    points = tuple(
        Allocation(
            {unit: OPTIONS[(index + i) % 3] for i, unit in enumerate(unit_names(units))},
            score=1 / (index + 1),
            resources={"energy_j": 1e-6 * (index + 1) / 3, "latency_s": 1e-3, "lut": 12},
            lower_bound=1 / (index + 1),
        )
        for index in range(count)
    )
    return Front(("energy_j", "score"), points, exact=True)
