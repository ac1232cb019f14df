"""Six applications on TPU v1, from their published shapes; nothing is fitted.

The paper gives no layer shapes. What it gives: weights, multiply-accumulates per weight byte, and
which part of the working array holds useful weights (that is the padding of the tiles).
"""

import csv
from collections.abc import Iterator
from pathlib import Path

from hwsim.errors import PlatformError
from hwsim.tables import Option

from .row import Row, Target
from .shipped import shipped_npu

_FILE = "tpuv1.csv"
THROUGHPUT = "TPU v1 applications"
ROOFLINE = "TPU v1 applications, plain roofline"
COUNTERS = "TPU v1 applications, from its counters"

TARGETS = (Target(THROUGHPUT, "each within 15 %, mean within 10 %", worst=0.15, mean=0.10),)


def rows(data: Path) -> Iterator[Row]:
    """Yield measured and predicted throughput of every application.

    Weight tiles, padding included, stream behind the products of the tile before; what is slower
    sets the time. Where an application has convolutions and fully connected layers, the tiles
    of the latter have no products to hide behind: the paper does not say how many weights they
    have, so all are taken. The plain roofline knows neither padding nor kinds of layers. The
    third comparison is no prediction: it takes the useful part of all cycles from the counters,
    at half speed for the recurrent applications, and shows how far counters and throughput agree.
    """
    path = data / _FILE
    if not path.is_file():
        return
    platform = shipped_npu("tpu_v1")
    clock = platform.clock.si
    rates = [platform.native(Option(8, bits)).macs_per_cycle.value * clock for bits in (8, 16)]
    weights_level = next(level for level in platform.memory if "weights" in level.holds)
    if weights_level.bandwidth is None:
        raise PlatformError("tpu_v1: bandwidth must be given for the weights' memory")
    bandwidth = weights_level.bandwidth.si
    with path.open(encoding="utf-8", newline="") as file:
        for record in csv.DictReader(file):
            case = record["application"]
            measured = float(record["measured_tops"])
            useful = float(record["useful_macs_percent"])
            filled = useful / (useful + float(record["unused_macs_percent"]))
            weights = 1e6 * float(record["weights_millions"])
            macs = weights * float(record["ops_per_weight_byte"])
            multiply = macs / (filled * rates[0])
            fetch = weights / (filled * bandwidth)
            mixed = int(record["fc_layers"]) > 0 and int(record["conv_layers"]) > 0
            time = multiply + fetch if mixed else max(multiply, fetch)
            plain = max(macs / rates[0], weights / bandwidth)
            recurrent = int(record["vector_layers"]) > 0
            counted = useful / 100 * rates[1 if recurrent else 0]
            yield Row(THROUGHPUT, case, measured, 2e-12 * macs / time, "TOPS")
            yield Row(ROOFLINE, case, measured, 2e-12 * macs / plain, "TOPS")
            yield Row(COUNTERS, case, measured, 2e-12 * counted, "TOPS")
