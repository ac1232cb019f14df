"""Compiled kernels on disk, in a folder that stale entries cannot be in.

A folder is named by a hash of all that machine code depends on: every source of kernels and of the
core, the versions that compile it, the CPU, the settings of Numba and the tier. Another tree,
version, CPU or tier has another folder, so nothing in one ever has to be checked for its age.
Source: reference/kernels.md, section 6.
"""

import contextlib
import hashlib
import os
import re
import shutil
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import llvmlite
import llvmlite.binding
import numpy as np

import hwsim

TIER_VARIABLE = "HWSIM_TIER"

# Settings of Numba that change no instruction; all others are part of the key.
_HARMLESS = {
    "NUMBA_CACHE_DIR", "NUMBA_NUM_THREADS", "NUMBA_THREADING_LAYER",
    "NUMBA_THREADING_LAYER_PRIORITY", "NUMBA_DEBUG_CACHE", "NUMBA_DISABLE_PERFORMANCE_WARNINGS",
}  # fmt: skip
_KEPT_FOLDERS = 12  # about 1 MB each
_NAME = re.compile(r"[0-9a-f]{16}")


def key() -> str:
    """Return the name of the folder of this tree, these versions, this CPU and these settings."""
    digest = hashlib.sha256()
    for part in _parts():
        digest.update(len(part).to_bytes(8, "little") + part)
    return digest.hexdigest()[:16]


def _parts() -> Iterator[bytes]:
    kernels, core = Path(__file__).parent, Path(hwsim.__file__).parent
    # Machine code freezes constants of the core as well; no verb of the command line has any.
    above = (source for source in core.glob("*.py") if not source.name.startswith("cli"))
    for source in sorted((*kernels.rglob("*.py"), *above)):
        yield source.name.encode()
        yield source.read_bytes()
    yield _numba_version()
    host = llvmlite.binding
    features = host.get_host_cpu_features().flatten()
    for text in (
        llvmlite.__version__, np.__version__, sys.version,
        host.get_process_triple(), host.get_host_cpu_name(), features,
        os.environ.get(TIER_VARIABLE, ""),
    ):  # fmt: skip
        yield text.encode()
    for name in sorted(os.environ):
        if name.startswith("NUMBA_") and name not in _HARMLESS:
            yield f"{name}={os.environ[name]}".encode()
    with contextlib.suppress(OSError):
        yield Path(".numba_config.yaml").read_bytes()


def _numba_version() -> bytes:
    """Return what tells versions of Numba apart, without the third of a second its import takes."""
    found = find_spec("numba")
    for folder in (found and found.submodule_search_locations) or []:
        with contextlib.suppress(OSError):
            return Path(folder, "_version.py").read_bytes()
    import numba

    return str(numba.__version__).encode()


def parent() -> Path | None:
    """Return the folder of all folders: in NUMBA_CACHE_DIR if the user set it, else the user's."""
    base = os.environ.get("NUMBA_CACHE_DIR") or os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(base).absolute() if base else Path.home() / ".cache") / "hwsim"
    except (OSError, RuntimeError):  # no home, or no current folder
        return None


@dataclass(frozen=True)
class Store:
    """One folder of entries.

    Args:
        folder: Where, or None if nowhere; it may be there to be read alone.
        name: The key it was opened with.
    """

    folder: Path | None
    name: str

    @property
    def writable(self) -> bool:
        """Whether entries can be added."""
        return self.folder is not None and os.access(self.folder, os.W_OK)

    def read(self, name: str) -> bytes | None:
        """Return what was written, or None if it is not there or not whole."""
        if self.folder is None:
            return None
        try:
            entry = (self.folder / name).read_bytes()
        except OSError:
            return None
        data = entry[32:]
        return data if entry[:32] == _checksum(name, data) else None

    def write(self, name: str, data: bytes) -> bool:
        """Add an entry, at once or not at all; return whether it is there.

        Nothing is added once a source was edited or a setting changed: what runs now may be older
        than the name of the folder, or newer.
        """
        if self.folder is None or key() != self.name:
            return False
        draft = self.folder / f"{name}.{uuid.uuid4().hex[:16]}"
        try:
            draft.write_bytes(_checksum(name, data) + data)
            draft.replace(self.folder / name)
        except OSError:
            with contextlib.suppress(OSError):
                draft.unlink()
            return False
        return True


def _checksum(name: str, data: bytes) -> bytes:
    return hashlib.sha256(name.encode() + b"\0" + data).digest()


@cache
def store() -> Store:
    """Return the entries of this process, in a folder made now if it can be."""
    name, base = key(), parent()
    if base is None:
        return Store(None, name)
    folder = base / name
    try:
        if folder.is_dir():
            with contextlib.suppress(OSError):
                os.utime(folder)  # the folder used last is removed last
        else:
            folder.mkdir(parents=True)
            _forget_oldest(base)
    except FileExistsError:  # another process was faster, or a file is in the way
        pass
    except OSError:
        return Store(None, name)
    return Store(folder if folder.is_dir() else None, name)


def folders() -> list[Path]:
    """Return every folder of entries, the one used last first."""
    base = parent()
    try:
        found = [one for one in base.iterdir() if _NAME.fullmatch(one.name)] if base else []
        return sorted(found, key=lambda one: -one.stat().st_mtime)
    except OSError:
        return []


def size_of(folder: Path) -> int:
    """Return the bytes of all files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def clear() -> list[Path]:
    """Remove every folder of entries that can be; return those that were."""
    found = folders()
    for folder in found:
        shutil.rmtree(folder, ignore_errors=True)
    return [folder for folder in found if not folder.exists()]


def _forget_oldest(base: Path) -> None:
    """Bound the disk that versions of the past take."""
    for folder in folders()[_KEPT_FOLDERS:]:
        shutil.rmtree(folder, ignore_errors=True)
