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
T = TypeVar("T")


@cache
def cache_folder() -> str | None:
    """Return where compiled kernels of exactly these sources live, or None if nowhere.

    The parent is NUMBA_CACHE_DIR if the user set it, else the user's cache folder.
    """
    digest = hashlib.sha256(f"{numba.__version__} {llvmlite.__version__}".encode())
    # Requant numbers are frozen into machine code, so their file counts as a kernel source.
    for source in (*sorted(Path(__file__).parent.rglob("*.py")), Path(hwsim.profile.__file__)):
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
    return cast(F, _with_cache(lambda on_disk: numba.njit(nogil=True, cache=on_disk)(function)))


def native(kernel: Callable[[int], None]) -> Any:
    """Compile a kernel as a C function of one int64, cached likewise; `.address` is where it is.

    A kernel may close over ints and strings alone: they become constants of its machine code and
    part of its key on disk. What it calls must live in modules: a key holds no address.
    """
    signature = numba.types.void(numba.types.int64)
    return _with_cache(lambda on_disk: numba.cfunc(signature, cache=on_disk)(kernel))


def _with_cache(compile_kernel: Callable[[bool], T]) -> T:
    """Compile with the cache folder set, which Numba reads while its decorators run."""
    folder = cache_folder()
    if folder is None:
        return compile_kernel(False)
    settings = cast(Any, numba.config)
    before = settings.CACHE_DIR
    settings.CACHE_DIR = folder
    try:
        return compile_kernel(True)
    finally:
        settings.CACHE_DIR = before
