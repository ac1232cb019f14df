"""What the machine code may use: the instruction tier of Numba's effective target.

The host CPU does not decide: an instruction that Numba's target lacks ends the process inside LLVM,
and `NUMBA_CPU_NAME` may name another CPU than the host's. Source: reference/kernels.md, section 5.
"""

import os
from dataclasses import dataclass
from functools import cache
from typing import Any, cast

import numba
from numba.core.registry import cpu_target

from hwsim.errors import InputError

VARIABLE = "HWSIM_TIER"


@dataclass(frozen=True)
class Tier:
    """A class of CPUs.

    Args:
        name: What users write.
        lanes: 32-bit lanes of a vector.
        quad: LLVM's name of the instruction that adds four u8 * s8 products to a lane, or "".
        pair: LLVM's name of the instruction that sums two s16 * s16 products in a lane, or "".
        pair_adds: Whether that instruction takes the accumulator.
        masked: Whether stores of bytes take a mask.
        needs: Sets of target features, one of which must be there.
    """

    name: str
    lanes: int
    quad: str
    pair: str
    pair_adds: bool
    masked: bool
    needs: tuple[frozenset[str], ...]

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
    if asked == INTERPRETED or cast(Any, numba.config).DISABLE_JIT:
        return None
    features = target_features()
    able = [one for one in TIERS if any(features >= needs for needs in one.needs)]
    if not asked:
        return able[0]
    for one in able:
        if one.name == asked:
            return one
    raise InputError(
        f"{VARIABLE} must be a tier that this CPU target runs "
        f"({', '.join(one.name for one in able)}), not {asked!r}"
    )


@cache
def target_features() -> frozenset[str]:
    """Return the features that Numba compiles for; none where Numba does not say."""
    try:
        features = cpu_target.target_context.codegen().magic_tuple()[2]
    except (AttributeError, IndexError, TypeError):  # semi-private, so it may change
        return frozenset()
    return frozenset(name[1:] for name in features.split(",") if name.startswith("+"))
