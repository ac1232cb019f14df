"""Operands of elementwise kernels, repeated to the shape of the result."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsim.graph import Value
from hwsim.kernels.scaling import aligned

from .block import copy_block, pitches_of
from .call import SCRATCH, Native, NativeCall, Place, Work
from .layout import Layout
from .lines import Spot

_SLACK = 256  # bytes that vectors may read beyond an operand
_ALIGNMENT = 64


def broadcast(
    values: Sequence[Value], out: Value, combine: Callable[[Sequence[Spot]], NativeCall]
) -> Native:
    """Return an elementwise operator.

    Args:
        values: Its operands.
        out: Its result.
        combine: Its call, once it is known where operands, all of one shape, and result lie.
    """
    constants = [_constant(value, out.shape) for value in values]

    def work(layouts: Mapping[str, Layout]) -> Work:
        calls: list[NativeCall] = []
        spots: list[Spot] = []
        scratch = 0
        for value, constant in zip(values, constants, strict=True):
            layout = layouts[value.name]
            whole = Layout(out.shape, layout.size)
            if constant is not None:
                spots.append(Spot(constant, whole))
            elif value.shape == out.shape:
                spots.append(Spot(Place(value.name), layout))
            else:
                target = Place(SCRATCH, scratch)
                calls.append(_repeat(Place(value.name), layout, target, whole))
                spots.append(Spot(target, whole))
                scratch += -(-(whole.bytes + _SLACK) // _ALIGNMENT) * _ALIGNMENT
        calls.append(combine([*spots, Spot(Place(out.name), layouts[out.name])]))
        return Work(tuple(calls), scratch)

    return Native(work)


def _constant(value: Value, shape: tuple[int, ...]) -> NDArray[Any] | None:
    """Return a constant operand, repeated and with memory to read beyond; None for others."""
    if value.data is None:
        return None
    whole = np.ascontiguousarray(np.broadcast_to(value.data, shape)).reshape(-1)
    made = aligned((whole.nbytes + _SLACK,), np.uint8)
    made[: whole.nbytes] = whole.view(np.uint8)
    return made


def _repeat(source: Place, layout: Layout, target: Place, whole: Layout) -> NativeCall:
    """Return the call that writes an operand as often as broadcasting reads it."""
    missing = len(whole.shape) - len(layout.shape)
    counts = (1,) * missing + layout.shape
    pitches = (0,) * missing + pitches_of(layout)
    repeated = [0 if own == 1 else pitch for own, pitch in zip(counts, pitches, strict=True)]
    return copy_block(source, repeated, target, pitches_of(whole), whole.shape, layout.size)
