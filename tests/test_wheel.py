"""What a user installs: one import name, every data file, nothing else in site-packages."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
WINGS = ("energy", "kernels", "platforms", "reports")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build a wheel from a copy of the tracked folders: a build writes into its source."""
    if not (ROOT / "pyproject.toml").is_file():
        pytest.skip("no source tree: 3 packaging checks are not made")
    source = tmp_path_factory.mktemp("source")
    ignored = shutil.ignore_patterns("__pycache__", "bench")
    for top in ("hwsim", *WINGS):
        shutil.copytree(ROOT / top, source / top, symlinks=True, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    out = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation",
         "-w", str(out), str(source)],
        check=True, capture_output=True,
    )  # fmt: skip
    (made,) = out.glob("*.whl")
    return made


def test_everything_installs_under_one_name(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"hwsim"}


def test_every_source_and_data_file_is_shipped(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    expected = {
        f"hwsim/{path.relative_to(ROOT).as_posix().removeprefix('hwsim/')}"
        for top in ("hwsim", *WINGS)
        for path in (ROOT / top).rglob("*")
        if path.is_file()
        and path.suffix in (".py", ".toml", ".onnx", ".typed")
        # rglob of some Pythons enters links: each wing is listed once, by its real place.
        and not set(path.relative_to(ROOT / top).parts[:1]) & set(WINGS)
    }
    assert "hwsim/py.typed" in expected and "hwsim/platforms/pynq_z2.toml" in expected
    assert expected <= names


def test_an_installed_copy_runs_and_hides_its_wings(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    code = (
        "import importlib.util as u, hwsim; from hwsim import networks;"
        f"assert not any(map(u.find_spec, {WINGS!r}));"
        "g = hwsim.load(networks.path('digits_cnn'));"
        "print(hwsim.__file__, hwsim.cost(g, 'pynq_z2', 8).total.lut > 0)"
    )
    environment = {**os.environ, "PYTHONPATH": str(site)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, check=True,
        capture_output=True, text=True,
    )  # fmt: skip
    place, priced = done.stdout.split()
    assert Path(place).is_relative_to(site) and priced == "True"
