"""Which operators run as machine code: one row each."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from hwsim.kernels.lower_add import lower_add, lower_squared_difference
from hwsim.kernels.lower_gelu import lower_gelu
from hwsim.kernels.lower_pointwise import lower_leaky_relu, lower_mul, lower_rescale
from hwsim.kernels.lower_table import lower_table
from hwsim.kernels.scaling import Site
from hwsim.ops import Op

from .call import Native
from .depthwise import depthwise_conv_2d
from .elementwise import add, extremum, leaky_relu, mul, rescale
from .gelu import gelu
from .matmul import matmul
from .matrix import Constants, conv_2d, fully_connected
from .move import concatenation, pad, reshape, split, strided_slice, transpose
from .norm import norm
from .pool import mean, pool
from .softmax import softmax
from .table import binary, unary
from .target import Tier, tier

Lowering = Callable[[Tier, Site, Constants, int], Native | None]


def _first_of(*lowerings: Lowering) -> Lowering:
    """Return what the first lowering that has machine code makes."""

    def lowering(tier: Tier, site: Site, constants: Constants, bits: int) -> Native | None:
        made = (one(tier, site, constants, bits) for one in lowerings)
        return next((native for native in made if native is not None), None)

    return lowering


NATIVE: Mapping[Op, Lowering] = MappingProxyType(
    {
        Op.CONV_2D: conv_2d,
        Op.DEPTHWISE_CONV_2D: depthwise_conv_2d,
        Op.MATMUL: matmul,
        Op.FULLY_CONNECTED: fully_connected,
        Op.AVERAGE_POOL_2D: pool,
        Op.MAX_POOL_2D: pool,
        Op.MEAN: mean,
        Op.RESHAPE: reshape,
        Op.TRANSPOSE: transpose,
        Op.PAD: pad,
        Op.CONCATENATION: concatenation,
        Op.STRIDED_SLICE: strided_slice,
        Op.SPLIT: split,
        Op.ADD: binary(lower_add, add),
        Op.SUB: binary(lower_add, add),
        Op.MUL: binary(lower_mul, mul),
        Op.MAXIMUM: extremum,
        Op.MINIMUM: extremum,
        Op.SQUARED_DIFFERENCE: binary(lower_squared_difference),
        Op.QUANTIZE: unary(lower_rescale, rescale),
        Op.RELU: unary(lower_rescale, rescale),
        Op.RELU6: unary(lower_rescale, rescale),
        Op.RELU_N1_TO_1: unary(lower_rescale, rescale),
        Op.CLIP: unary(lower_rescale, rescale),
        Op.LEAKY_RELU: unary(lower_leaky_relu, leaky_relu),
        Op.LOGISTIC: unary(lower_table),
        Op.TANH: unary(lower_table),
        Op.HARD_SWISH: unary(lower_table),
        Op.SILU: unary(lower_table),
        Op.EXP: unary(lower_table),
        Op.SOFTMAX: softmax,
        Op.GELU: _first_of(gelu, unary(lower_gelu)),
        Op.LAYER_NORM: norm,
        Op.RMS_NORM: norm,
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
