"""NumPy archives as inputs and outputs, read without pickle and written whole or not at all."""

import os
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from hwsim.errors import InputError


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Return the arrays of an `.npz`, or of an `.npy` under the name "x".

    Raises:
        InputError: If the file is missing, damaged, or holds Python objects.
    """
    if not path.is_file():
        raise InputError(f"{path}: file must exist; it does not")
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return {"x": loaded}
        with loaded:
            return {name: loaded[name] for name in loaded.files}
    except (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise InputError(
            f"{path.name}: file must be an .npz or .npy of plain numbers; it cannot be read"
        ) from error


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write an `.npz`; a name appears only when the file is complete.

    Raises:
        InputError: If the folder is missing or cannot be written.
    """
    if path.suffix != ".npz":
        raise InputError(f"output file must end in .npz, not {path.name!r}")
    with _whole_file(path) as stream:
        # A dict, not keywords: value names may be "file" or hold any character but NUL.
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
            for name, array in arrays.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, np.asarray(array), allow_pickle=False)


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file whose name appears only when it is complete.

    Raises:
        InputError: If the folder is missing or cannot be written.
    """
    with _whole_file(path) as stream:
        stream.write(data)


@contextmanager
def _whole_file(path: Path) -> Iterator[BinaryIO]:
    """Yield a stream whose file takes its name at the end alone."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as stream:
            yield stream
        part.replace(path)
    except OSError as error:
        raise InputError(f"{path}: output must be writable; {error.strerror}") from error
    finally:
        part.unlink(missing_ok=True)
