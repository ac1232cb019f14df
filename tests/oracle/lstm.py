"""A unidirectional LSTM over codes, one number at a time; numerics.md 3.6.

The caller gives every multiplier; nothing here knows a scale.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from tests.oracle import sigmoid
from tests.oracle.arith import clamp, mbqm_double, mbqm_s64

Scaling = tuple[int, int]
Matrix = Sequence[Sequence[int]]
GATES = ("input", "forget", "cell", "output")


@dataclass(frozen=True)
class Gate:
    """Weights (H, I) and (H, H), bias (H,) and two multipliers with left shifts."""

    weights: Matrix
    recurrent: Matrix
    bias: Sequence[int]
    by_input: Scaling
    by_hidden: Scaling


@dataclass(frozen=True)
class Cell:
    """The four gates and what stands between them."""

    gates: dict[str, Gate]
    forget: Scaling
    update: Scaling
    emit: Scaling
    power: int
    clip: tuple[int, int]
    ends: tuple[int, int]
    input_zero_point: int
    hidden_zero_point: int
    wide: bool


def clamp16(value: int) -> int:
    """Limit to int16."""
    return clamp(value, -32768, 32767)


def lstm(
    cell: Cell, x: Sequence[Matrix], hidden: Sequence[Sequence[int]], state: Sequence[Sequence[int]]
) -> tuple[list[list[list[int]]], list[list[int]]]:
    """Return every hidden state (B, T, H) and the last cell state (B, H)."""
    outputs, last = [], []
    for sequence, first_hidden, first_state in zip(x, hidden, state, strict=True):
        h, c, steps = list(first_hidden), list(first_state), []
        for codes in sequence:
            h, c = step(cell, codes, h, c)
            steps.append(h)
        outputs.append(steps)
        last.append(c)
    return outputs, last


def step(
    cell: Cell, codes: Sequence[int], h: Sequence[int], c: Sequence[int]
) -> tuple[list[int], list[int]]:
    """Return the next hidden and cell state of one sequence."""
    scale = mbqm_s64 if cell.wide else mbqm_double
    next_h, next_c = [], []
    for unit in range(len(h)):
        sums = {}
        for name in GATES:
            gate = cell.gates[name]
            by_input = gate.bias[unit] + sum(
                w * (code - cell.input_zero_point)
                for w, code in zip(gate.weights[unit], codes, strict=True)
            )
            by_hidden = sum(
                w * (code - cell.hidden_zero_point)
                for w, code in zip(gate.recurrent[unit], h, strict=True)
            )
            first = clamp16(scale(by_input, *gate.by_input))
            sums[name] = clamp16(first + scale(by_hidden, *gate.by_hidden))
        i, f, o = (sigmoid.logistic(3 * sums[name]) for name in ("input", "forget", "output"))
        g = sigmoid.tanh(3 * sums["cell"])
        kept = clamp16(mbqm_double(f * c[unit], *cell.forget))
        new = clamp(kept + mbqm_double(i * g, *cell.update), *cell.clip)
        exact = Fraction(3 * new) * Fraction(2) ** (cell.power + 12)
        shown = sigmoid.tanh(math.floor(exact + Fraction(1, 2)))
        code = mbqm_double(o * shown, *cell.emit) + cell.hidden_zero_point
        next_h.append(clamp(code, *cell.ends))
        next_c.append(new)
    return next_h, next_c
