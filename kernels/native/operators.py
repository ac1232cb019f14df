"""Which operators run as machine code: one row each."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from hwsim.kernels.scaling import Site
from hwsim.ops import Op

from .call import Native
from .depthwise import depthwise_conv_2d
from .elementwise import add, leaky_relu, mul, rescale
from .matmul import matmul
from .matrix import Constants, conv_2d, fully_connected
from .move import reshape
from .pool import mean, pool
from .softmax import softmax
from .target import Tier, tier

NATIVE: Mapping[Op, Callable[[Tier, Site, Constants, int], Native | None]] = MappingProxyType(
    {
        Op.CONV_2D: conv_2d,
        Op.DEPTHWISE_CONV_2D: depthwise_conv_2d,
        Op.MATMUL: matmul,
        Op.FULLY_CONNECTED: fully_connected,
        Op.AVERAGE_POOL_2D: pool,
        Op.MAX_POOL_2D: pool,
        Op.MEAN: mean,
        Op.RESHAPE: reshape,
        Op.ADD: add,
        Op.SUB: add,
        Op.MUL: mul,
        Op.QUANTIZE: rescale,
        Op.RELU: rescale,
        Op.RELU6: rescale,
        Op.RELU_N1_TO_1: rescale,
        Op.CLIP: rescale,
        Op.LEAKY_RELU: leaky_relu,
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
