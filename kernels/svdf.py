"""One step of a rank-decomposed filter over time. Source: arm_svdf_s8 of CMSIS-NN.

Oracle: tests/oracle/svdf.py.
"""

import numpy as np
from numpy.typing import NDArray

from .arith import Scaling, requantize, requantize_row, widen
from .conv import add_products
from .jit import jit

Codes = NDArray[np.integer]


@jit
def svdf(
    x: Codes,
    feature: Codes,
    time: Codes,
    bias: Codes,
    x_zero: int,
    rank: int,
    by_feature: Scaling,
    by_time: Scaling,
    features: Codes,
    units: Codes,
    state: Codes,
    out: Codes,
) -> None:
    """Push features of `x` (B, I) into `state` (B, F, M) and filter it into `out` (B, F / rank).

    `feature` is packed (I, F), `time` (F, M). `features` (F,) and `units` (F / rank,) are scratch
    accumulators.
    """
    memory = time.shape[1]
    for b in range(x.shape[0]):
        features[:] = 0
        add_products(features, x[b], x_zero, feature)
        units[:] = bias
        for f in range(features.size):
            for m in range(memory - 1):
                state[b, f, m] = state[b, f, m + 1]
            state[b, f, memory - 1] = requantize(features[f], by_feature, 0)
            for m in range(memory):
                units[f // rank] += widen(state[b, f, m]) * widen(time[f, m])
        requantize_row(units, by_time, out[b])
