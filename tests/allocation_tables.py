"""Small tables for the tests of the allocator."""

from hwsim.tables import CostTable, Option, SensitivityTable, UnitCost

WIDTHS = (2, 3, 4, 5, 6, 7, 8, 10, 12, 16)


def options(count):
    return [Option(width, width) for width in WIDTHS[:count]]


def row(unit, option, *, energy_j=0.0, latency_s=0.0, weight_bytes=0.0, lut=0):
    return UnitCost(
        unit=unit,
        option=option,
        macs=0,
        energy_mac_j=energy_j,
        energy_memory_j={},
        energy_static_j=0.0,
        latency_s=latency_s,
        bound_by="",
        weight_bytes=weight_bytes,
        activation_bytes=0.0,
        memory_bytes={},
        lut=lut,
    )


def tables(scores, energy, latency=None, weights=None, *, fixed=(), pipelined=False):
    """Return the tables of scores[unit][option] and costs; fixed is (energy, latency) rows."""
    rows = [row(f"fixed{i}", None, energy_j=e, latency_s=t) for i, (e, t) in enumerate(fixed)]
    for u, values in enumerate(energy):
        for k, option in enumerate(options(len(values))):
            rows.append(
                row(
                    f"u{u}",
                    option,
                    energy_j=values[k],
                    latency_s=latency[u][k] if latency else 0.0,
                    weight_bytes=weights[u][k] if weights else 0.0,
                )
            )
    costs = CostTable(
        "chip",
        tuple(rows),
        {f"u{u}": options(1)[0] for u in range(len(energy))},
        pipelined=pipelined,
    )
    values = {
        (f"u{u}", option): scores[u][k]
        for u in range(len(scores))
        for k, option in enumerate(options(len(scores[u])))
    }
    return SensitivityTable("mse", values), costs


def random_table(rng, shape, draw):
    return [[draw(rng) for _ in range(count)] for count in shape]
