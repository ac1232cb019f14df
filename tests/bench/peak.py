"""The speed limit: the tier's dot product on registers alone, no memory."""

from collections.abc import Callable
from functools import cache
from typing import Any

from llvmlite import ir
from numba import njit, types
from numba.core.errors import TypingError
from numba.extending import intrinsic

from hwsim.kernels.native import emit
from hwsim.kernels.native.target import TIERS, Tier

_TIERS = {tier.name: tier for tier in TIERS}
STEPS = 20_000
"""Loop steps of one call: some 50 to 500 microseconds."""


def accumulators(tier: Tier) -> int:
    """Return how many sums stay in registers: more than latency times instructions per cycle."""
    return 24 if tier.lanes == 16 else 10


def operations(tier: Tier) -> int:
    """Return multiplies and adds of one call."""
    products = 4 if tier.quads else 2
    return 2 * STEPS * accumulators(tier) * tier.lanes * products


def _spin(typing_context: Any, name: Any, steps: Any) -> Any:
    """Run `steps` loop steps of a tier's dot product; return a lane, so that nothing is dead."""
    if not isinstance(name, types.StringLiteral):
        raise TypingError("a tier is named by a constant")
    tier = _TIERS[name.literal_value]

    def codegen(context: Any, b: Any, signature: Any, values: Any) -> Any:
        whole = emit.vector(emit.I32, tier.lanes)
        opaque = ir.FunctionType(whole, [whole])
        kind = "=v,0" if tier.lanes == 16 else "=x,0"

        def hidden(value: Any) -> Any:
            """Return a value that the compiler knows nothing about; it costs no instruction."""
            return b.asm(opaque, "", kind, [value], side_effect=True)

        start = emit.splat(b, b.trunc(values[1], emit.I32), tier.lanes)
        codes, weights = hidden(start), hidden(start)
        before, loop, after = b.block, b.append_basic_block("loop"), b.append_basic_block("after")
        b.branch(loop)
        b.position_at_end(loop)
        step = b.phi(emit.I64)
        step.add_incoming(emit.I64(0), before)
        sums = [b.phi(whole) for _ in range(accumulators(tier))]
        turned = b.phi(whole)
        turned.add_incoming(codes, before)
        add = emit.add_quads if tier.quads else emit.add_pairs
        made, fresh = [], turned
        for total in sums:
            total.add_incoming(start, before)
            made.append(add(b, tier, total, fresh, weights))
            if not tier.quads:  # else one product would serve all sums
                fresh = hidden(fresh)
        following = b.add(step, emit.I64(1))
        step.add_incoming(following, loop)
        turned.add_incoming(fresh, loop)
        for total, value in zip(sums, made, strict=True):
            total.add_incoming(value, loop)
        b.cbranch(b.icmp_signed("<", following, values[1]), loop, after)
        b.position_at_end(after)
        last = made[0]
        for value in made[1:]:
            last = b.xor(last, value)
        return b.sext(b.extract_element(last, emit.I32(0)), emit.I64)

    return types.int64(name, types.int64), codegen


spin: Any = intrinsic(prefer_literal=True)(_spin)


@cache
def peak_kernel(tier: Tier) -> Any:
    """Return the compiled loop; it takes the number of steps."""
    name = tier.name

    @njit(nogil=True)
    def loop(steps: int) -> int:
        return spin(name, steps)

    return loop


def peak_call(tier: Tier) -> Callable[[], object] | None:
    """Return a call of `operations` operations, or None for a tier without such an instruction."""
    if not tier.pair:
        return None
    loop = peak_kernel(tier)
    return lambda: loop(STEPS)
