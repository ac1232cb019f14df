"""The same bits whatever the cache holds: nothing, everything, rubbish, or the work of others."""

import io
import json
import os
import pty
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from hwsim.formats.tflite import read_tflite
from hwsim.kernels.cache import Store, key
from hwsim.kernels.plan import execute
from hwsim.profiles import PROFILES
from tests.strategies import generate

ROOT = Path(__file__).resolve().parents[1]
SEEDS = 1
OPERATORS = ["CONV_2D"]  # it runs as machine code
TIERS = ["", "oracle"]  # what runs by default, and the reference kernels, which Numba keeps


def activations(operators: list[str]) -> dict[str, np.ndarray]:
    """Return every activation of the generated models, by operator, seed and position."""
    made = {}
    for operator in operators:
        for seed in range(SEEDS):
            case = generate(operator, seed)
            graph = read_tflite(case.model.to_bytes(), Path(f"{operator}_{seed}.tflite"))
            feed = {name: case.feed[name] for name in graph.input_names}
            values = execute(graph, PROFILES["tflite_ref"], feed, keep_all=True).values()
            for position, array in enumerate(values):
                made[f"{operator} {seed} {position}"] = array
    return made


def settings(cache: Path, root: Path) -> dict[str, str]:
    """Return an environment without settings of Numba's or ours but the folder."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("NUMBA_", "HWSIM_"))}
    paths = os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH", "")]))
    return inherited | {"PYTHONPATH": paths, "NUMBA_CACHE_DIR": str(cache)}


def start(
    cache: Path, operators: list[str], root: Path = ROOT, stderr: int = subprocess.PIPE,
    **environment: str,
) -> subprocess.Popen[bytes]:  # fmt: skip
    """Start a process that computes the activations; its warnings are errors."""
    command = [sys.executable, "-W", "error", "-m", "tests.test_cache", *operators]
    made = settings(cache, root) | environment
    return subprocess.Popen(command, env=made, cwd=root, stdout=subprocess.PIPE, stderr=stderr)


def result(process: subprocess.Popen[bytes]) -> tuple[dict[str, np.ndarray], bool]:
    """Return what a process computed and whether it imported Numba."""
    out, errors = process.communicate()
    assert process.returncode == 0, errors
    assert not errors, errors
    with np.load(io.BytesIO(out), allow_pickle=False) as archive:
        made = {name: archive[name] for name in archive.files}
    return made, bool(made.pop("numba"))


def elsewhere(cache: Path, operators: list[str], **environment: str) -> dict[str, np.ndarray]:
    return result(start(cache, operators, **environment))[0]


def same(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> None:
    assert a.keys() == b.keys()
    for name, array in a.items():
        assert array.dtype == b[name].dtype, name
        assert array.tobytes() == b[name].tobytes(), name


def entries(cache: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in cache.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder that two processes filled at once."""
    cache = tmp_path_factory.mktemp("warm")
    both = [start(cache, OPERATORS) for _ in range(2)]
    expected = activations(OPERATORS)
    for process in both:
        made, _ = result(process)
        same(made, expected)
    return cache


def test_a_warm_cache_changes_no_bit_and_is_not_written(warm: Path) -> None:
    before = entries(warm)
    assert before
    same(elsewhere(warm, OPERATORS), activations(OPERATORS))
    assert entries(warm) == before


def test_machine_code_of_an_earlier_process_needs_no_numba(warm: Path) -> None:
    _, imported = result(start(warm, OPERATORS))
    assert not imported


@pytest.mark.parametrize("damage", ["half", "flipped"])
def test_a_damaged_entry_is_compiled_again(warm: Path, tmp_path: Path, damage: str) -> None:
    cache = tmp_path / "cache"
    shutil.copytree(warm, cache)
    for path in entries(cache):
        if path.suffix not in (".nbi", ".nbc"):  # Numba's own, which have no checksum
            data = path.read_bytes()
            middle = len(data) // 2
            flipped = data[:middle] + bytes([data[middle] ^ 0xFF]) + data[middle + 1 :]
            path.write_bytes({"half": data[:middle], "flipped": flipped}[damage])
    same(elsewhere(cache, OPERATORS), activations(OPERATORS))
    made, imported = result(start(cache, OPERATORS))
    same(made, activations(OPERATORS))
    assert not imported


def test_a_damaged_entry_of_numba_is_compiled_again(tmp_path: Path) -> None:
    expected = activations(OPERATORS)
    same(elsewhere(tmp_path, OPERATORS, HWSIM_TIER="oracle"), expected)
    kept = entries(tmp_path)
    assert {path.suffix for path in kept} >= {".nbi", ".nbc"}
    for path in kept:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    same(elsewhere(tmp_path, OPERATORS, HWSIM_TIER="oracle"), expected)


def test_a_file_in_the_place_of_the_folder_changes_no_bit(tmp_path: Path) -> None:
    """A file stops even the super-user, whom no permission does."""
    cache = tmp_path / "cache"
    cache.write_bytes(b"")
    same(elsewhere(cache, OPERATORS), activations(OPERATORS))
    assert not cache.read_bytes()


@pytest.mark.skipif(os.geteuid() == 0, reason="the super-user may write everywhere")
def test_a_read_only_folder_is_read(warm: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    shutil.copytree(warm, cache)
    folders = [cache, *(path for path in cache.rglob("*") if path.is_dir())]
    for path in folders:
        path.chmod(0o555)
    try:
        made, imported = result(start(cache, OPERATORS))
    finally:
        for path in folders:
            path.chmod(0o755)
    same(made, activations(OPERATORS))
    assert not imported


@pytest.mark.parametrize("tier", TIERS)
def test_a_full_disk_changes_no_bit(tmp_path: Path, tier: str) -> None:
    cache = tmp_path / "cache"
    process = start(cache, OPERATORS, HWSIM_TEST_FULL="1", HWSIM_TIER=tier)
    same(result(process)[0], activations(OPERATORS))
    assert not any(path.stat().st_size for path in entries(cache))


def test_every_kernel_source_is_in_the_key(tmp_path: Path) -> None:
    """Edit every file in turn, in a copied tree that has a process of its own."""
    for part in ("hwsim", "kernels"):
        shutil.copytree(ROOT / part, tmp_path / part, symlinks=True)
    code = """
from pathlib import Path
from hwsim.kernels.cache import key
first = key()
core = [path for path in Path("hwsim").glob("*.py") if not path.name.startswith("cli")]
sources = [*Path("kernels").rglob("*.py"), *core]
for source in sources:
    text = source.read_bytes()
    source.write_bytes(text + b"#")
    assert key() != first, source
    source.write_bytes(text)
    assert key() == first
Path("kernels/native/added.py").touch()
assert key() != first
print(len(sources))
"""
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    count = subprocess.check_output([sys.executable, "-c", code], cwd=tmp_path, env=environment)
    assert int(count) > 100


def test_an_edited_kernel_is_compiled_again(warm: Path, tmp_path: Path) -> None:
    for part in ("hwsim", "kernels"):
        shutil.copytree(ROOT / part, tmp_path / part, symlinks=True)
    source = tmp_path / "kernels" / "native" / "emit.py"
    text = source.read_text("utf-8")
    correct = "return b.add(upper(b, lower(b, scaled, high), low), zero)"
    assert text.count(correct) == 1
    cache = tmp_path / "cache"
    shutil.copytree(warm, cache)
    source.write_text(text.replace(correct, "return zero"), "utf-8")
    (tmp_path / "tests").symlink_to(ROOT / "tests")
    made, imported = result(start(cache, OPERATORS, root=tmp_path))
    expected = activations(OPERATORS)
    assert imported
    assert any(not np.array_equal(made[name], expected[name]) for name in expected)
    same(elsewhere(cache, OPERATORS), expected)  # the old tree still has its own


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("HWSIM_TIER", "generic"),
        ("NUMBA_CPU_NAME", "haswell"),
        ("NUMBA_CPU_FEATURES", "+avx2"),
        ("NUMBA_ENABLE_AVX", "0"),
        ("NUMBA_OPT", "1"),
    ],
)
def test_what_changes_machine_code_is_in_the_key(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.delenv(variable, raising=False)
    before = key()
    monkeypatch.setenv(variable, value)
    assert key() != before


def test_what_changes_none_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    before = key()
    monkeypatch.setenv("NUMBA_NUM_THREADS", "1")
    monkeypatch.setenv("NUMBA_CACHE_DIR", "elsewhere")
    assert key() == before


def test_nothing_is_written_under_a_key_of_the_past(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HWSIM_TIER", raising=False)
    store = Store(tmp_path, key())
    assert store.write("entry", b"code")
    assert store.read("entry") == b"code"
    monkeypatch.setenv("HWSIM_TIER", "generic")
    assert not store.write("other", b"code")
    assert store.read("other") is None


def test_an_entry_is_read_under_its_own_name_alone(tmp_path: Path) -> None:
    store = Store(tmp_path, key())
    assert store.write("entry", b"code")
    (tmp_path / "entry").rename(tmp_path / "other")
    assert store.read("other") is None


def test_old_folders_are_forgotten(tmp_path: Path) -> None:
    parent = tmp_path / "hwsim"
    for number in range(40):
        folder = parent / f"{number:016x}"
        folder.mkdir(parents=True)
        os.utime(folder, (number, number))
    other = parent / "not ours"
    other.mkdir()
    code = "from hwsim.kernels.cache import store; print(store().folder.name)"
    environment = os.environ | {"PYTHONPATH": str(ROOT), "NUMBA_CACHE_DIR": str(tmp_path)}
    new = subprocess.check_output([sys.executable, "-c", code], text=True, env=environment)
    left = sorted(folder.name for folder in parent.iterdir() if folder != other)
    assert new.strip() in left and len(left) == 12
    assert [name for name in left if name != new.strip()] == [f"{n:016x}" for n in range(29, 40)]
    assert other.is_dir()


def test_the_command_line_shows_and_clears(warm: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    shutil.copytree(warm, cache)
    first = json.loads(_command(cache, "info", "--json"))
    assert first["writable"] and Path(first["folder"]).parent == cache / "hwsim"
    kept = cache / "hwsim"
    assert first["bytes"] == {
        str(folder): sum(size for path, size in _sizes(cache).items() if folder in path.parents)
        for folder in kept.iterdir()
    }
    assert _command(cache, "clear") == "removed 1 folders\n"
    assert not list(kept.iterdir())


def _command(cache: Path, *words: str) -> str:
    command = [sys.executable, "-m", "hwsim", "cache", *words]
    return subprocess.check_output(command, text=True, env=settings(cache, ROOT))


def _sizes(cache: Path) -> dict[Path, int]:
    return {path: path.stat().st_size for path in entries(cache)}


def test_the_first_use_says_what_it_compiles_where_somebody_watches(tmp_path: Path) -> None:
    assert _watched(tmp_path).count("compiling kernel") > 1
    assert _watched(tmp_path) == ""


def _watched(cache: Path) -> str:
    """Return what a process writes on a terminal."""
    ours, theirs = pty.openpty()
    process = start(cache, OPERATORS, stderr=theirs)
    os.close(theirs)
    process.communicate()
    assert process.returncode == 0
    said = b""
    while True:
        try:
            more = os.read(ours, 1 << 16)
        except OSError:  # the end of a terminal
            break
        if not more:
            break
        said += more
    os.close(ours)
    return said.decode()


if __name__ == "__main__":
    if "HWSIM_TEST_FULL" in os.environ:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    computed = activations(sys.argv[1:])
    np.savez(sys.stdout.buffer, numba=np.array("numba" in sys.modules), **computed)
