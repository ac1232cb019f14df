"""Errors of an integer network against the float one, per operator."""

from dataclasses import dataclass

import numpy as np

import hwsim
from hwsim.fuse import fuse
from hwsim.graph import Graph
from hwsim.profile import NumericProfile
from hwsim.quant import dequantize_array


@dataclass(frozen=True, slots=True)
class OperatorErrors:
    """Errors over all values that nodes of one operator make.

    Args:
        operator: Its name.
        values: How many of its values compare.
        max_error: Largest absolute error.
        mean_error: Mean absolute error.
        sqnr_db: Least signal-to-noise ratio of one value.
    """

    operator: str
    values: int
    max_error: float
    mean_error: float
    sqnr_db: float


def operator_errors(
    graph: Graph, integer: Graph, inputs: dict[str, np.ndarray], profile: NumericProfile
) -> list[OperatorErrors]:
    """Return the table of a network, operators in order of appearance.

    Each error holds those of the operators before it.
    """
    reals = hwsim.trace(fuse(graph), inputs, profile="float")
    codes = hwsim.trace(integer, inputs, profile=profile)
    parts: dict[str, list[tuple[float, float, float]]] = {}
    for node in integer.nodes:
        for name in node.outputs:
            quant = integer.values[name].quant
            assert quant is not None
            error = np.abs(dequantize_array(codes[name], quant) - reals[name]).astype(np.float64)
            signal = float(np.square(reals[name].astype(np.float64)).sum())
            ratio = 10 * np.log10(signal / max(float(np.square(error).sum()), 1e-300))
            row = (float(error.max()), float(error.mean()), float(ratio))
            parts.setdefault(node.op.value, []).append(row)
    return [
        OperatorErrors(
            operator, len(rows), max(r[0] for r in rows),
            sum(r[1] for r in rows) / len(rows), min(r[2] for r in rows),
        )
        for operator, rows in parts.items()
    ]  # fmt: skip
