"""The one decorator that compiles kernels, and the cache that cannot go stale.

Numba's own freshness check looks at the file of the compiled function alone: an edit of a helper
in another file would load old machine code. Entries therefore live in a folder named by a hash of
every kernel source and of the versions that made them.
"""

import hashlib
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

import llvmlite
import numba

import hwsim.profile

F = TypeVar("F", bound=Callable[..., object])


@cache
def cache_folder() -> str | None:
    """Return where compiled kernels of exactly these sources live, or None if nowhere.

    The parent is NUMBA_CACHE_DIR if the user set it, else the user's cache folder.
    """
    digest = hashlib.sha256(f"{numba.__version__} {llvmlite.__version__}".encode())
    # Requant numbers are frozen into machine code, so their file counts as a kernel source.
    for source in (*sorted(Path(__file__).parent.glob("*.py")), Path(hwsim.profile.__file__)):
        digest.update(source.read_bytes())
    base = os.environ.get("NUMBA_CACHE_DIR") or os.environ.get("XDG_CACHE_HOME")
    parent = Path(base) if base else Path.home() / ".cache"
    folder = parent / "hwsim" / digest.hexdigest()[:16]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    return str(folder) if os.access(folder, os.W_OK) else None


def jit(function: F) -> F:
    """Compile a kernel: no GIL, no fast math, cached on disk where a folder can be written."""
    folder = cache_folder()
    if folder is None:
        return cast(F, numba.njit(nogil=True)(function))
    settings = cast(Any, numba.config)
    before = settings.CACHE_DIR
    settings.CACHE_DIR = folder  # read once, while the decorator runs
    try:
        return cast(F, numba.njit(nogil=True, cache=True)(function))
    finally:
        settings.CACHE_DIR = before
