"""What the machine code may use: the instruction tier of Numba's effective target.

The host CPU does not decide: an instruction that Numba's target lacks ends the process inside LLVM,
and `NUMBA_CPU_NAME` may name another CPU than the host's. Source: reference/kernels.md, section 5.
"""

import json
import os
from dataclasses import dataclass
from functools import cache
from typing import Any, cast

from hwsim.errors import HwsimError, InputError
from hwsim.kernels.cache import TIER_VARIABLE as VARIABLE
from hwsim.kernels.cache import store


@dataclass(frozen=True)
class Tier:
    """A class of CPUs.

    Args:
        name: What users write.
        lanes: 32-bit lanes of a vector.
        quad: LLVM's name of the instruction that adds four 8-bit products to a lane, or "".
        pair: LLVM's name of the instruction that sums two s16 * s16 products in a lane, or "".
        pair_adds: Whether that instruction takes the accumulator.
        masked: Whether stores of bytes take a mask.
        needs: Sets of target features, one of which must be there.
        signed: Whether the four products are s8 * s8, else u8 * s8.
    """

    name: str
    lanes: int
    quad: str
    pair: str
    pair_adds: bool
    masked: bool
    needs: tuple[frozenset[str], ...]
    signed: bool = False

    @property
    def quads(self) -> bool:
        """Whether one instruction adds four 8-bit products to a lane."""
        return bool(self.quad)


_X86 = "llvm.x86"
TIERS = (
    Tier(
        "vnni512", 16, f"{_X86}.avx512.vpdpbusd.512", f"{_X86}.avx512.vpdpwssd.512", True, True,
        (frozenset({"avx512vnni", "avx512bw", "avx512vl"}),),
    ),
    Tier(
        "avxvnni", 8, f"{_X86}.avx512.vpdpbusd.256", f"{_X86}.avx512.vpdpwssd.256", True, False,
        (frozenset({"avxvnni"}), frozenset({"avx512vnni", "avx512vl"})),
    ),
    Tier("avx2", 8, "", f"{_X86}.avx2.pmadd.wd", False, False,
         (frozenset({"avx2"}),)),
    Tier("neon_dot", 4, "llvm.aarch64.neon.sdot.v4i32.v16i8", "", False, False,
         (frozenset({"neon", "dotprod"}),), signed=True),
    Tier("generic", 8, "", "", False, False, (frozenset(),)),
)  # fmt: skip
"""From most to least demanding; the last needs nothing."""

INTERPRETED = "oracle"
"""The name that switches machine code off: every node runs on the reference loops."""


@cache
def tier() -> Tier | None:
    """Return the tier of this process; None if native kernels are off or cannot be.

    `HWSIM_TIER` may lower it, to test one tier on the machine of another.

    Raises:
        InputError: If HWSIM_TIER names no tier, or one that the target cannot run.
    """
    asked = os.environ.get(VARIABLE, "")
    names = [tier.name for tier in TIERS]
    if asked and asked not in (*names, INTERPRETED):
        listed = ", ".join((*names, INTERPRETED))
        raise InputError(f"{VARIABLE} must be one of {listed}, not {asked!r}")
    if asked == INTERPRETED:
        return None
    if not target().compiles:
        return None
    able = able_tiers()
    if not asked:
        return able[0]
    for one in able:
        if one.name == asked:
            return one
    raise InputError(
        f"{VARIABLE} must be a tier that this CPU target runs "
        f"({', '.join(one.name for one in able)}), not {asked!r}"
    )


def able_tiers() -> list[Tier]:
    """Return the tiers that Numba's target runs, most demanding first."""
    features = target_features()
    return [one for one in TIERS if any(features >= needs for needs in one.needs)]


@dataclass(frozen=True)
class Target:
    """What Numba compiles for.

    Args:
        cpu: LLVM's name of it.
        features: LLVM's list; empty where Numba does not say.
        compiles: Whether Numba compiles at all.
    """

    cpu: str
    features: str
    compiles: bool


_ENTRY = "target.json"


@cache
def target() -> Target:
    """Return what Numba said when these settings were first used: asking takes its import."""
    kept = store().read(_ENTRY)
    if kept is not None:
        return Target(**json.loads(kept))
    made = _asked()
    store().write(_ENTRY, json.dumps(vars(made)).encode())
    return made


def target_features() -> frozenset[str]:
    """Return the features that Numba compiles for, as whole words."""
    listed = target().features.split(",")
    return frozenset(name[1:] for name in listed if name.startswith("+"))


def check_target() -> None:
    """Refuse to compile for another target than the tier was chosen for: LLVM would abort.

    Raises:
        HwsimError: If Numba's settings were changed by a program that had started.
    """
    if _asked() != target():
        raise HwsimError(
            f"Numba must compile for {target().cpu!r} with the features that it had when hwsim "
            "started; set NUMBA_CPU_NAME and NUMBA_CPU_FEATURES before"
        )


def _asked() -> Target:
    import numba
    from numba.core.registry import cpu_target

    compiles = not cast(Any, numba.config).DISABLE_JIT
    try:
        _, cpu, features = cast(Any, cpu_target).target_context.codegen().magic_tuple()
    except (AttributeError, TypeError, ValueError):  # semi-private, so it may change
        return Target("", "", compiles)
    return Target(cpu, features, compiles)
