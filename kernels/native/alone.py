"""One native operator run by itself."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsim.graph import Value
from hwsim.kernels.scaling import aligned

from .call import SCRATCH, Native, Place
from .layout import Layout

_SLACK = 256  # bytes that vectors may read beyond a value's end


def run_alone(
    native: Native, values: Sequence[Value], arrays: Sequence[NDArray[Any]], out: Value
) -> NDArray[Any]:
    """Return the result of an operator.

    Args:
        native: The operator.
        values: Its operands.
        arrays: Their codes.
        out: Its result.
    """
    memory = {}
    for value, array in zip(values, arrays, strict=True):
        memory[value.name] = _memory(value)
        memory[value.name][: array.nbytes] = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    memory[out.name] = _memory(out)
    layouts = {
        value.name: Layout(value.shape, value.dtype.storage.itemsize) for value in (*values, out)
    }
    work = native.work(layouts)
    memory[SCRATCH] = aligned((work.scratch + _SLACK,), np.uint8)
    for call in work.calls:
        words = [
            memory[word.value][word.offset :] if isinstance(word, Place) else word
            for word in call.words
        ]
        call.kernel(*words)
    size = layouts[out.name].bytes
    return memory[out.name][:size].view(out.dtype.storage).reshape(out.shape)


def _memory(value: Value) -> NDArray[np.uint8]:
    layout = Layout(value.shape, value.dtype.storage.itemsize)
    made: NDArray[np.uint8] = aligned((layout.bytes + _SLACK,), np.uint8)
    return made
