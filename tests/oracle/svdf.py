"""One step of SVDF over codes, one number at a time; numerics.md 3.7."""

from collections.abc import Sequence

from tests.oracle.arith import clamp, mbqm_double

Matrix = Sequence[Sequence[int]]


def svdf(
    x: Matrix,
    feature: Matrix,
    time: Matrix,
    state: Sequence[Matrix],
    bias: Sequence[int],
    *,
    rank: int,
    input_zero_point: int,
    output_zero_point: int,
    by_feature: tuple[int, int],
    by_time: tuple[int, int],
    state_ends: tuple[int, int],
    ends: tuple[int, int],
) -> tuple[list[list[int]], list[list[list[int]]]]:
    """Return the output (B, F / rank) and the next state (B, F, M)."""
    outputs, states = [], []
    for codes, old in zip(x, state, strict=True):
        new, row = [], []
        for f, weights in enumerate(feature):
            pairs = zip(weights, codes, strict=True)
            acc = sum(w * (code - input_zero_point) for w, code in pairs)
            entry = clamp(mbqm_double(acc, *by_feature), *state_ends)
            new.append([*old[f][1:], entry])
        for unit, start in enumerate(bias):
            acc = start
            for f in range(unit * rank, (unit + 1) * rank):
                for w, entry in zip(time[f], new[f], strict=True):
                    acc += w * entry
            row.append(clamp(mbqm_double(acc, *by_time) + output_zero_point, *ends))
        outputs.append(row)
        states.append(new)
    return outputs, states
