"""Folders of results: all files of a run or a trace appear at once, or none does."""

import ctypes
import errno
import os
import secrets
import shutil
import sys
from collections.abc import Iterable, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING

from hwsim.errors import InputError

from .manifest import Manifest, manifest_json

if TYPE_CHECKING:
    from collections.abc import Iterator

MANIFEST_FILE = "manifest.json"


@dataclass(frozen=True, slots=True)
class FolderKind:
    """A kind of folder that is written whole.

    Args:
        noun: What errors call it.
        marker: The file that every such folder holds; a folder without it is never replaced.
    """

    noun: str
    marker: str


RUN = FolderKind("run", MANIFEST_FILE)
_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


def write_run(
    folder: Path,
    manifest: Manifest,
    files: Mapping[str, bytes | str],
    *,
    overwrite: bool = False,
) -> Path:
    """Write a run folder in one step and return its real path; see `write_folder`.

    Args:
        folder: The folder to make; missing parents are made as well.
        manifest: What the run was; becomes "manifest.json".
        files: Content by relative path with forward slashes; text is written as UTF-8.
        overwrite: Whether to replace an earlier run folder (one that holds a manifest).

    Raises:
        InputError: If the folder exists and may not be replaced, or a name leaves the folder.
    """
    for name in files:
        _require_inside(name)
        if name == MANIFEST_FILE:
            raise InputError(
                f"a run's file must not be named {MANIFEST_FILE!r}; it is written for you"
            )
    content = {**files, MANIFEST_FILE: manifest_json(manifest)}
    return write_folder(folder, content.items(), RUN, overwrite=overwrite)


def write_folder(
    folder: Path,
    files: Iterable[tuple[str, bytes | str]],
    kind: FolderKind,
    *,
    overwrite: bool = False,
) -> Path:
    """Write a folder in one step and return its real path.

    Everything goes to a hidden sibling folder first, reaches the disk, and is then renamed; an
    error or an interrupt leaves what was there before.

    Args:
        folder: The folder to make; missing parents are made as well.
        files: Relative path and content, one after the other, so that not all need be in memory.
        kind: What is written; one of the files must be its marker.
        overwrite: Whether to replace an earlier folder of the same kind.

    Raises:
        InputError: If the folder exists and may not be replaced, or a name leaves the folder.
    """
    target = folder.resolve()  # a link to a folder stays a link
    _require_free(target, folder, kind, overwrite=overwrite)
    target.parent.mkdir(parents=True, exist_ok=True)
    with _hidden_sibling(target) as temporary:
        temporary.mkdir()
        for name, data in files:
            _require_inside(name)
            path = temporary / name
            path.parent.mkdir(parents=True, exist_ok=True)
            _write_through(path, data.encode() if isinstance(data, str) else data)
        for inside in (temporary, *(path for path in temporary.rglob("*") if path.is_dir())):
            _sync_folder(inside)
        if target.exists():
            _swap(temporary, target)
        else:
            _rename(temporary, target, folder, kind)
        _sync_folder(target.parent)
    return target


def write_file(path: Path, data: bytes) -> None:
    """Write one file in one step: its reader sees the old content or the new, never a part."""
    target = path.resolve()
    try:
        with _hidden_sibling(target) as temporary:
            _write_through(temporary, data)
            temporary.replace(target)
            _sync_folder(target.parent)
    except OSError as error:
        raise InputError(f"{path}: output must be writable; {error.strerror or error}") from error


def _require_inside(name: str) -> None:
    """Refuse a file name that is no plain relative path."""
    path = PurePosixPath(name)
    plain = name == path.as_posix() and not PureWindowsPath(name).anchor and "\\" not in name
    if not plain or not path.parts or path.is_absolute() or ".." in path.parts or "\0" in name:
        raise InputError(f"a run's file must be named by a plain relative path, not {name!r}")


def _require_free(target: Path, shown: Path, kind: FolderKind, *, overwrite: bool) -> None:
    """Refuse to replace anything but an earlier one or an empty folder, and those unasked."""
    if not target.exists():
        return
    if not target.is_dir():
        raise InputError(f"{kind.noun} folder {str(shown)!r} must be a folder, not a file")
    if not overwrite:
        raise InputError(
            f"{kind.noun} folder {str(shown)!r} must not exist yet; overwrite it to replace"
        )
    if any(target.iterdir()) and not (target / kind.marker).is_file():
        raise InputError(
            f"{kind.noun} folder {str(shown)!r} must hold {kind.marker} to be overwritten; "
            f"what stands there is no {kind.noun}"
        )


@contextmanager
def _hidden_sibling(target: Path) -> "Iterator[Path]":
    """Give a free hidden name beside a path; remove whatever still bears it at the end."""
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(6)}.tmp")
    try:
        yield temporary
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary)
        else:
            temporary.unlink(missing_ok=True)


def _write_through(path: Path, data: bytes) -> None:
    """Write a file down to the disk."""
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    """Bring a folder's names to the disk, where the system lets a folder be opened."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # some network file systems refuse it
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _rename(temporary: Path, target: Path, shown: Path, kind: FolderKind) -> None:
    """Give the finished folder its name, unless somebody else took it meanwhile."""
    try:
        temporary.rename(target)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            raise InputError(
                f"{kind.noun} folder {str(shown)!r} must not exist yet; overwrite it to replace"
            ) from error
        raise


def _swap(temporary: Path, target: Path) -> None:
    """Exchange two folders; the old content then bears the temporary name.

    Linux does it in one step. Elsewhere the old folder steps aside first and comes back if the
    new one cannot take its place.
    """
    if _exchange(temporary, target):
        return
    aside = target.with_name(f"{temporary.name}.old")
    target.rename(aside)
    try:
        temporary.rename(target)
    except BaseException:
        aside.rename(target)
        raise
    aside.rename(temporary)


def _exchange(first: Path, second: Path) -> bool:
    """Exchange two names by Linux's renameat2; return whether system and disk can."""
    if sys.platform != "linux":
        return False
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return False
    status: int = renameat2(
        ctypes.c_int(_AT_FDCWD), ctypes.c_char_p(os.fsencode(first)),
        ctypes.c_int(_AT_FDCWD), ctypes.c_char_p(os.fsencode(second)),
        ctypes.c_uint(_RENAME_EXCHANGE),
    )  # fmt: skip
    return status == 0
