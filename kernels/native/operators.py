"""Which operators run as machine code: one row each."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from hwsim.kernels.scaling import Site
from hwsim.ops import Op

from .call import Native
from .depthwise import depthwise_conv_2d
from .matmul import matmul
from .matrix import Constants, conv_2d, fully_connected
from .softmax import softmax
from .target import Tier, tier

NATIVE: Mapping[Op, Callable[[Tier, Site, Constants, int], Native | None]] = MappingProxyType(
    {
        Op.CONV_2D: conv_2d,
        Op.DEPTHWISE_CONV_2D: depthwise_conv_2d,
        Op.MATMUL: matmul,
        Op.FULLY_CONNECTED: fully_connected,
        Op.SOFTMAX: softmax,
    }
)
"""A lowering takes the tier, the node, the constants of its step, and the bits that its accumulator
needs at most (0 where it has none); it returns None where the reference kernel must run."""


def native_node(site: Site, constants: Constants, bits: int) -> Native | None:
    """Return a node as machine code, or None."""
    instructions = tier()
    make = NATIVE.get(site.op)
    if instructions is None or make is None:
        return None
    return make(instructions, site, constants, bits)
