"""Every tier that this machine can run, in a process of its own, against NumPy and the oracle.

`HWSIM_TIER_GROUPS=500` draws that many out of all groups of cases instead of the few that touch
every rule, type and tile; it takes minutes per tier.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import llvmlite.binding
import pytest

ROOT = Path(__file__).resolve().parents[1]
HOST = {name for name, there in llvmlite.binding.get_host_cpu_features().items() if there}
VNNI512 = {"avx512vnni", "avx512bw", "avx512vl"}

# Name of the tier, what the machine must have, and the settings that make Numba compile for it.
SETTINGS = {
    "vnni512": ("vnni512", VNNI512, {}),
    "avxvnni by override": ("avxvnni", VNNI512, {"HWSIM_TIER": "avxvnni"}),
    "avxvnni": (
        "avxvnni", {"avxvnni", "avx2"},
        {"NUMBA_CPU_NAME": "sierraforest", "NUMBA_CPU_FEATURES": "+avxvnni,+avx2"},
    ),
    "avx2": ("avx2", {"avx2"}, {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx2"}),
    "generic": (
        "generic", {"sse2"}, {"NUMBA_CPU_NAME": "x86-64", "NUMBA_CPU_FEATURES": "+sse2"},
    ),
    "generic by override": ("generic", set(), {"HWSIM_TIER": "generic"}),
}  # fmt: skip


def report(each: int, several: int, *options: str, **settings: str) -> dict[str, Any]:
    command = [sys.executable, "-W", "error", "-m", "tests.tier_cases"]
    drop = ("NUMBA_CPU", "HWSIM_TIER", "NUMBA_ENABLE_AVX", "NUMBA_DISABLE_JIT")
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(drop)}
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    done = subprocess.run(
        [*command, str(each), str(several), "0", *options],
        env=inherited | {"PYTHONPATH": paths} | settings,
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


@pytest.mark.parametrize("setting", SETTINGS)
def test_tier_equals_the_oracle(setting: str) -> None:
    name, needs, environment = SETTINGS[setting]
    if not needs <= HOST:
        pytest.skip(f"this machine has no {', '.join(sorted(needs - HOST))}")
    several = int(os.environ.get("HWSIM_TIER_GROUPS", "0"))
    if setting.endswith("override") and name != "avxvnni" and not several:
        pytest.skip("the same instructions as another tier; HWSIM_TIER_GROUPS runs it")
    made = report(2 if several else 10, several, **environment)
    assert made["tier"] == name
    assert made["cpu"] == environment.get("NUMBA_CPU_NAME", llvmlite.binding.get_host_cpu_name())
    assert made["wrong"] == []
    assert _ran(made) >= 300, made["done"]


def test_arm_dot_products_equal_the_oracle(tmp_path: Path) -> None:
    """The tier's own steps, run here with its one instruction written out."""
    made = report(10, 0, "neon", NUMBA_CACHE_DIR=str(tmp_path))
    assert made["tier"] == "neon_dot"
    assert made["wrong"] == []
    assert _ran(made) >= 300, made["done"]


def _ran(made: dict[str, Any]) -> int:
    return sum(count for what, count in made["done"].items() if what.endswith("done"))


def test_an_unknown_tier_is_one_sentence() -> None:
    code = "from hwsim.kernels.native.target import tier; tier()"
    for asked, sentence in (
        (
            "avx9",
            "HWSIM_TIER must be one of vnni512, avxvnni, avx2, neon_dot, generic, oracle, "
            "not 'avx9'",
        ),
        ("avx2", "HWSIM_TIER must be a tier that this CPU target runs (generic), not 'avx2'"),
    ):
        environment = os.environ | {
            "HWSIM_TIER": asked, "NUMBA_CPU_NAME": "x86-64", "NUMBA_CPU_FEATURES": "+sse2",
        }  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment, cwd=ROOT, capture_output=True, text=True
        )
        assert done.stderr.strip().splitlines()[-1] == f"hwsim.errors.InputError: {sentence}"
