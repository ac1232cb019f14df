"""LSTM with 16-bit gates and cell state. Source: arm_nn_lstm_step_s8 and _s16 of CMSIS-NN.

Gates are Q3.12 before their activation and Q0.15 behind it. Oracle: tests/oracle/lstm.py.
"""

import numpy as np
from numpy.typing import NDArray

from .arith import Scaling, requantize, saturate, scale, shift_once, widen
from .conv import add_products
from .interpolate import logistic_q15, tanh_q15
from .jit import jit

Codes = NDArray[np.integer]

# Input, forget, cell and output gate stand side by side in this order.
GATES = 4
_INT16_MIN, _INT16_MAX = -(1 << 15), (1 << 15) - 1
_HALF_UP = 4  # Requant.HALF_UP


@jit
def lstm(
    x: Codes,
    weights: Codes,
    recurrent: Codes,
    bias: Codes,
    x_zero: int,
    hidden_zero: int,
    by_input: Scaling,
    by_hidden: Scaling,
    forget: Scaling,
    update: Scaling,
    emit: Scaling,
    cell_shift: int,
    table: Codes,
    acc: Codes,
    gates: Codes,
    hidden: Codes,
    cell: Codes,
    out: Codes,
) -> None:
    """Run `x` (B, T, I) through a cell of H units into `out` (B, T, H).

    `weights` (I, 4 H), `recurrent` (H, 4 H) and `bias` (4 H,) hold the gates one after another.
    `hidden` and `cell` (B, H) are the first states and become the last ones. `forget` and `update`
    scale the products with a gate into cell codes, clamped to int16 and to the cell's clip; `emit`
    scales into hidden codes. The cell's scale is taken as 2**(-12 - cell_shift) by its tanh.
    """
    units = hidden.shape[1]
    for b in range(x.shape[0]):
        for t in range(x.shape[1]):
            acc[:] = bias
            add_products(acc, x[b, t], x_zero, weights)
            for i in range(GATES * units):
                gates[i] = requantize(acc[i], by_input, i)
            acc[:] = 0
            add_products(acc, hidden[b], hidden_zero, recurrent)
            for i in range(GATES * units):
                total = widen(gates[i]) + scale(widen(acc[i]), by_hidden, i)
                gates[i] = saturate(total, _INT16_MIN, _INT16_MAX)
            for h in range(units):
                gate_i = logistic_q15(3 * widen(gates[h]), table)
                gate_f = logistic_q15(3 * widen(gates[units + h]), table)
                gate_g = tanh_q15(3 * widen(gates[2 * units + h]), table)
                gate_o = logistic_q15(3 * widen(gates[3 * units + h]), table)
                kept = requantize(gate_f * widen(cell[b, h]), forget, 0)
                added = scale(gate_i * gate_g, update, 0)
                cell[b, h] = saturate(kept + added, update.qmin, update.qmax)
                shown = tanh_q15(shift_once(3 * widen(cell[b, h]), cell_shift, _HALF_UP), table)
                out[b, t, h] = requantize(gate_o * shown, emit, 0)
            hidden[b] = out[b, t]
