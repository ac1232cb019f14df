import json
import os
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from hwsim import __version__
from hwsim.errors import InputError
from hwsim.reports import run_folder
from hwsim.reports.manifest import Environment, Manifest, current_environment, manifest_json
from hwsim.reports.run_folder import write_file, write_run
from hwsim.tables import Option

ENVIRONMENT = Environment(
    datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), {"hwsim": "0.1.0"}, "3.11.7", "Linux", "x86_64"
)
MANIFEST = Manifest(("hwsim", "demo"), ENVIRONMENT, seed=0)


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_a_run_holds_its_files_and_a_manifest(tmp_path: Path) -> None:
    target = write_run(tmp_path / "new" / "run", MANIFEST, {"a.csv": "µ\n", "plots/b.png": b"\x89"})
    written = contents(target)
    assert written.keys() == {"manifest.json", "a.csv", "plots/b.png"}
    assert written["a.csv"] == "µ\n".encode()
    assert json.loads(written["manifest.json"])["command"] == ["hwsim", "demo"]
    assert os.listdir(tmp_path / "new") == ["run"]


@pytest.mark.parametrize(
    ("failing", "earlier"),
    [
        ("_write_through", False), ("_sync_folder", False), ("_rename", False),
        ("_write_through", True), ("_sync_folder", True), ("_swap", True),
    ],
)  # fmt: skip
def test_a_failure_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str, earlier: bool
) -> None:
    if earlier:
        write_run(tmp_path / "run", MANIFEST, {"old": b"old"})
    before = contents(tmp_path)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(run_folder, failing, interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_run(tmp_path / "run", MANIFEST, {"a": b"1", "b/c": b"2"}, overwrite=True)
    assert contents(tmp_path) == before
    assert os.listdir(tmp_path) == (["run"] if earlier else [])


@pytest.mark.parametrize("exchange", [True, False])
def test_overwriting_replaces_all_of_the_earlier_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exchange: bool
) -> None:
    if not exchange:
        monkeypatch.setattr(run_folder, "_exchange", lambda *_: False)
    write_run(tmp_path / "run", MANIFEST, {"old": b"old"})
    write_run(tmp_path / "run", MANIFEST, {"new": b"new"}, overwrite=True)
    assert contents(tmp_path / "run").keys() == {"new", "manifest.json"}
    assert os.listdir(tmp_path) == ["run"]


def test_the_old_run_comes_back_where_the_new_one_cannot_take_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_run(tmp_path / "run", MANIFEST, {"old": b"old"})
    before = contents(tmp_path)
    rename = Path.rename

    def refuse(path: Path, target: Path) -> Path:
        if path.name.endswith(".tmp"):
            raise OSError("no")
        return rename(path, target)

    monkeypatch.setattr(run_folder, "_exchange", lambda *_: False)
    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(OSError, match="^no$"):
        write_run(tmp_path / "run", MANIFEST, {"new": b"new"}, overwrite=True)
    assert contents(tmp_path) == before


def refused(sentence: str) -> "pytest.RaisesExc[InputError]":
    return pytest.raises(InputError, match=f"^{re.escape(sentence)}$")


def test_what_may_not_be_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    write_run(folder, MANIFEST, {})
    with refused(f"run folder {str(folder)!r} must not exist yet; overwrite it to replace"):
        write_run(folder, MANIFEST, {})
    (tmp_path / "file").write_bytes(b"")
    with refused(f"run folder {str(tmp_path / 'file')!r} must be a folder, not a file"):
        write_run(tmp_path / "file", MANIFEST, {}, overwrite=True)
    sentence = f"run folder {str(tmp_path)!r} must hold manifest.json to be overwritten; "
    with refused(sentence + "what stands there is no run"):
        write_run(tmp_path, MANIFEST, {}, overwrite=True)


@pytest.mark.parametrize("name", ["", "/etc/x", "../x", "a/../../x", "C:\\x", "a\\b", "a//b", "."])
def test_a_file_stays_inside_its_run(tmp_path: Path, name: str) -> None:
    with refused(f"a run's file must be named by a plain relative path, not {name!r}"):
        write_run(tmp_path / "run", MANIFEST, {name: b""})
    assert os.listdir(tmp_path) == []


def test_the_manifest_is_written_by_the_run(tmp_path: Path) -> None:
    with refused("a run's file must not be named 'manifest.json'; it is written for you"):
        write_run(tmp_path / "run", MANIFEST, {"manifest.json": b""})


def test_one_file_is_replaced_in_one_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_file(tmp_path / "a", b"1")
    write_file(tmp_path / "a", b"2")
    assert contents(tmp_path) == {"a": b"2"}

    def fail(*_: object) -> None:
        raise OSError("full")

    monkeypatch.setattr(run_folder.os, "fsync", fail)
    with pytest.raises(InputError, match="^.*/a: output must be writable; full$"):
        write_file(tmp_path / "a", b"3")
    assert contents(tmp_path) == {"a": b"2"}


def test_the_manifest_says_what_was_run() -> None:
    manifest = Manifest(
        ("hwsim", "cost"), ENVIRONMENT, 7, "net", "ab", "cd", "t4", "ef",
        {"bits": Option(4, 8), "path": Path("a") / "b", "budget": float("nan"), "grid": (1, 2.5)},
    )  # fmt: skip
    assert json.loads(manifest_json(manifest)) == {
        "schema_version": 1, "kind": "manifest", "command": ["hwsim", "cost"],
        "time_utc": "2026-01-02T03:04:05+00:00", "packages": {"hwsim": "0.1.0"},
        "python": "3.11.7", "system": "Linux", "machine": "x86_64", "seed": 7,
        "model": {"name": "net", "sha256": "ab"}, "data": {"sha256": "cd"},
        "platform": {"name": "t4", "sha256": "ef"},
        "settings": {"bits": "W4A8", "path": "a/b", "budget": None, "grid": [1, 2.5]},
    }  # fmt: skip


def test_a_setting_must_be_data() -> None:
    with refused("settings.on[1]: a value must be JSON data, not object"):
        manifest_json(Manifest((), ENVIRONMENT, settings={"on": [1, object()]}))


def test_the_environment_is_this_process() -> None:
    environment = current_environment()
    assert environment.packages["hwsim"] == __version__
    assert "numpy" in environment.packages and environment.time_utc.tzinfo is UTC
    with refused("time_utc must have a time zone, not '2026-01-02T00:00:00'"):
        Environment(datetime(2026, 1, 2), {}, "", "", "")
