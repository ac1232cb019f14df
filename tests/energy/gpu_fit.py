"""How the constants of `nvidia_t4` follow from HAWQ-V3's measurement."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from hwsim.energy.gpu import padded_macs
from hwsim.energy.validation.gpu import BATCH, W4, W8, layer_of, network_s, t4, with_constants

__all__ = ["BATCH", "fit"]


def fit(networks: dict[str, Any], names: Sequence[str]) -> tuple[float, float, float, float]:
    """Return (efficiency INT8, efficiency INT4, epilogue, chained) fitted on some networks.

    The first three: least squared relative error of the layers alone, the launch as it stands.
    The last: mean |relative error| of the networks' times is least, found by ternary search.
    """
    platform = t4()
    launch, clock = platform.cores.launch.si, platform.clock.si
    peak = {row.native_bits: row.macs_per_cycle.value * clock for row in platform.precision}
    terms, times = [], []
    for name in names:
        for row in networks[name]["layers"]:
            layer = layer_of(name, row)
            padded, outputs = padded_macs(platform, layer), layer.m * layer.n / clock
            terms.append([padded / peak[8], 0.0, outputs])
            terms.append([0.0, padded / peak[4], outputs])
            times += [1e-3 * row["latency_int8"], 1e-3 * row["latency_int4"]]
    measured = np.array(times)
    weighted = np.array(terms) / measured[:, None]
    eight, four, epilogue = np.linalg.lstsq(weighted, 1 - launch / measured, rcond=None)[0]
    efficiency = {8: float(1 / eight), 4: float(1 / four)}

    def error(chained: float) -> float:
        made = with_constants(platform, efficiency, float(epilogue), chained)
        shares = [
            1e3 * network_s(made, name, networks[name]["layers"], widths)
            / networks[name]["end_to_end_ms_batch_8"][key]
            for name in names
            for widths, key in ((W8, "w8a8"), (W4, "w4a4"))
        ]  # fmt: skip
        return float(sum((share - 1) ** 2 for share in shares))

    low, high = 0.01, 1.0
    for _ in range(60):
        left, right = low + (high - low) / 3, high - (high - low) / 3
        low, high = (low, right) if error(left) < error(right) else (left, high)
    return efficiency[8], efficiency[4], float(epilogue), (low + high) / 2
