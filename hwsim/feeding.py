"""Arrays of a user's archive made to fit a graph's inputs."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsim.archives import read_arrays
from hwsim.errors import InputError
from hwsim.graph import Graph, Value

_LABELS = "y"


@dataclass(frozen=True)
class Preparation:
    """(x / divide - mean) / std, per channel of the last or the channels axis.

    Args:
        divide: One number.
        mean: One number or one per channel; empty for none.
        std: As `mean`.
    """

    divide: float = 1.0
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    @classmethod
    def of(cls, divide: float, mean: str | None, std: str | None) -> "Preparation":
        """Parse the command line's form.

        Raises:
            InputError: If a number is not one, or a divisor is not positive.
        """
        made = cls(divide, _numbers(mean, "--mean"), _numbers(std, "--std"))
        if not (math.isfinite(divide) and divide > 0):
            raise InputError(f"--divide must be a positive finite number, not {divide}")
        if not all(math.isfinite(number) for number in (*made.mean, *made.std)):
            raise InputError(f"--mean and --std must be finite numbers, not {mean!r} and {std!r}")
        if any(not number > 0 for number in made.std):
            raise InputError(f"--std must be positive numbers, not {std!r}")
        return made

    @property
    def is_identity(self) -> bool:
        """Whether inputs stay as they are."""
        return self == Preparation()

    def apply(self, array: NDArray[Any], channel_axis: int) -> NDArray[np.float32]:
        """Return the prepared array as float32.

        Raises:
            InputError: If there are not as many numbers as channels.
        """
        made = np.asarray(array, np.float32) / np.float32(self.divide)
        for name, numbers in (("--mean", self.mean), ("--std", self.std)):
            if not numbers:
                continue
            channels = made.shape[channel_axis]
            if len(numbers) not in (1, channels):
                raise InputError(f"{name} must be 1 or {channels} numbers, not {len(numbers)}")
            shape = [1] * made.ndim
            shape[channel_axis] = len(numbers)
            factor = np.array(numbers, np.float32).reshape(shape)
            made = made - factor if name == "--mean" else made / factor
        return np.asarray(made, np.float32)


def _numbers(text: str | None, field: str) -> tuple[float, ...]:
    if text is None:
        return ()
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise InputError(f"{field} must be numbers such as 0.5,0.5,0.5, not {text!r}") from error


@dataclass(frozen=True)
class Feed:
    """What an archive holds for a graph.

    Args:
        arrays: One array per input.
        labels: One class per input, where the archive has them.
        notes: What was changed on the way, for people.
    """

    arrays: dict[str, NDArray[Any]]
    labels: NDArray[np.integer] | None
    notes: tuple[str, ...]


def read_feed(
    graph: Graph,
    path: Path | None,
    key: str | None,
    preparation: Preparation,
    limit: int | None,
) -> Feed:
    """Return a graph's inputs from an archive.

    An input takes the array of its name; a single input takes `key`, "x", or the only array of
    its shape. Images are turned between NHWC and NCHW where only that makes them fit. Arrays of
    another type than an integer input's codes are taken as real numbers.

    Raises:
        InputError: If there is no file, no fitting array, or `limit` is below 1.
    """
    if path is None:
        raise InputError("inputs must be given; --data names an .npz or .npy")
    if limit is not None and limit < 1:
        raise InputError(f"--limit must be 1 or more, not {limit}")
    archive = read_arrays(path)
    arrays, notes = {}, []
    for value in graph.inputs:
        name = _find(value, archive, key, path, single=len(graph.inputs) == 1)
        array, note = _fit(value, archive[name], preparation)
        arrays[value.name] = array[:limit] if limit is not None else array
        notes += note
    count = next(iter(arrays.values())).shape[0]
    labels = archive.get(_LABELS)
    usable = labels is not None and labels.ndim == 1 and labels.dtype.kind in "iu"
    return Feed(arrays, labels[:count] if usable and labels is not None else None, tuple(notes))


def _find(
    value: Value, archive: dict[str, NDArray[Any]], key: str | None, path: Path, *, single: bool
) -> str:
    names = [name for name in ((key,) if key else (value.name, "x")) if name in archive]
    if not names and single and not key:
        names = [n for n, a in archive.items() if n != _LABELS and a.ndim == len(value.shape)]
        names = names if len(names) == 1 else []
    if not names:
        raise InputError(
            f"{path.name}: archive must hold {key or value.name!r}, not only "
            f"{', '.join(archive) or 'nothing'}"
        )
    return names[0]


def _fit(
    value: Value, array: NDArray[Any], preparation: Preparation
) -> tuple[NDArray[Any], list[str]]:
    notes = []
    wanted, axis = value.shape[1:], array.ndim - 1
    if array.ndim == 4 and array.shape[1:] != wanted:
        for perm, name, channels in (((0, 3, 1, 2), "NCHW", 1), ((0, 2, 3, 1), "NHWC", 3)):
            if tuple(array.shape[i] for i in perm[1:]) == wanted:
                array, axis = array.transpose(perm), channels
                notes.append(f"input {value.name!r} was turned to {name}")
                break
    elif array.ndim == 4 and value.is_float:
        axis = 1
    if not preparation.is_identity:
        array = preparation.apply(array, axis)
    elif array.dtype != value.dtype.storage and array.dtype.kind in "iu":
        meaning = "used as such" if value.is_float else "quantized with the input's parameters"
        notes.append(
            f"{array.dtype} numbers for input {value.name!r} are taken as reals, {meaning}"
        )
        array = array.astype(np.float32)
    return np.ascontiguousarray(array), notes
