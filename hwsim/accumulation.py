"""How wide a network's accumulators must be, how wide its data made them, what narrower ones break.

Source: numerics.md, section 5, and A2Q (arXiv 2301.13376) for bounds from weights.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hwsim.errors import InputError
from hwsim.graph import Graph, Node
from hwsim.intermediates import IntermediateBound
from hwsim.ops import Op
from hwsim.profile import ACCUMULATOR_BITS
from hwsim.verify import AccumulatorBound, constant_channels, signed_bits, weighted_bound

if TYPE_CHECKING:
    import pandas as pd

WEIGHTED = (Op.CONV_2D, Op.DEPTHWISE_CONV_2D, Op.FULLY_CONNECTED)


@dataclass(frozen=True, slots=True)
class Observed:
    """What a node's accumulators held on the inputs that were run; never a guarantee.

    Args:
        accumulators: How many there were.
        low: Smallest finished sum.
        high: Largest finished sum.
        partial_low: Smallest value after any addition, bias first, in the documented order.
        partial_high: Largest such value.
    """

    accumulators: int
    low: int
    high: int
    partial_low: int
    partial_high: int

    @property
    def bits(self) -> int:
        """Signed width of the finished sums."""
        return signed_bits(self.low, self.high)

    @property
    def partial_bits(self) -> int:
        """Signed width of every sum on the way."""
        return signed_bits(self.partial_low, self.partial_high)

    def joined(self, other: "Observed") -> "Observed":
        """Return what both saw."""
        return Observed(
            self.accumulators + other.accumulators,
            min(self.low, other.low),
            max(self.high, other.high),
            min(self.partial_low, other.partial_low),
            max(self.partial_high, other.partial_high),
        )


@dataclass(frozen=True, slots=True)
class Narrowed:
    """What an accumulator of another width does to one node, its inputs as they are.

    Args:
        bits: The width.
        wrapped: Accumulators whose finished sum it does not hold.
        wrapped_codes: Output codes that change where it wraps.
        saturated: Accumulators that an addition takes beyond it.
        saturated_codes: Output codes that change where each addition saturates.
    """

    bits: int
    wrapped: int
    wrapped_codes: int
    saturated: int
    saturated_codes: int

    def joined(self, other: "Narrowed") -> "Narrowed":
        """Return the sum of both counts."""
        return Narrowed(
            self.bits,
            self.wrapped + other.wrapped,
            self.wrapped_codes + other.wrapped_codes,
            self.saturated + other.saturated,
            self.saturated_codes + other.saturated_codes,
        )


@dataclass(frozen=True, slots=True)
class ConstantChannels:
    """Output channels whose weights are all 0, where their biases alone widen the accumulator.

    Such a channel's output is a constant that could be folded away. Its integer bias may be huge
    only because its scale is tiny: the real bias says whether it is.

    Args:
        channels: How many.
        bias_low: Smallest of their biases.
        bias_high: Largest.
        real_low: Smallest of their biases as real numbers.
        real_high: Largest.
        bits: The order-safe width of all other channels.
        weight_aware_bits: The width of their finished sums.
    """

    channels: int
    bias_low: int
    bias_high: int
    real_low: float
    real_high: float
    bits: int
    weight_aware_bits: int


@dataclass(frozen=True, slots=True)
class LayerAccumulator:
    """One accumulating node.

    Args:
        bound: Its range, whatever the inputs.
        operator: Canonical name.
        observed: Its range on the given inputs; None without inputs.
        narrowed: What narrower accumulators would break on them, widest first.
        constant: Channels that could be folded away, where they alone widen it.
    """

    bound: AccumulatorBound
    operator: str
    observed: Observed | None = None
    narrowed: tuple[Narrowed, ...] = ()
    constant: ConstantChannels | None = None


@dataclass(frozen=True, slots=True)
class AccumulatorReport:
    """Every accumulator of a graph, in execution order.

    Args:
        graph: The graph's name.
        profile: The arithmetic's.
        samples: Inputs run; 0 for none.
        layers: One per accumulating node.
        intermediates: Registers inside operators that keep no sum of products.
    """

    graph: str
    profile: str
    samples: int
    layers: tuple[LayerAccumulator, ...]
    intermediates: tuple[IntermediateBound, ...]

    @property
    def datatype_bits(self) -> int:
        """The widest of the datatype bounds, which ignore weights and biases; 0 for no layer."""
        return max((layer.bound.datatype_bits for layer in self.layers), default=0)

    @property
    def weight_aware_bits(self) -> int:
        """The width that suffices for all layers where partial sums may wrap."""
        return max((layer.bound.weight_aware_bits for layer in self.layers), default=0)

    @property
    def bits(self) -> int:
        """The width that suffices for all layers in any order of additions."""
        return max((layer.bound.bits for layer in self.layers), default=0)

    @property
    def observed_bits(self) -> int | None:
        """The width that the given inputs needed; None without inputs."""
        seen = [layer.observed.bits for layer in self.layers if layer.observed is not None]
        return max(seen, default=None)

    @property
    def bits_without_constants(self) -> int:
        """`bits`, were the constant channels folded away."""
        return max(
            (layer.constant.bits if layer.constant else layer.bound.bits for layer in self.layers),
            default=0,
        )

    def to_frame(self) -> "pd.DataFrame":
        """Return one line per accumulating node."""
        import pandas as pd

        return pd.DataFrame([_line(layer) for layer in self.layers])

    def narrowed_frame(self) -> "pd.DataFrame":
        """Return one line per node and narrower width."""
        import pandas as pd

        return pd.DataFrame(
            [
                {"node": layer.bound.node, "operator": layer.operator, "bits": row.bits}
                | {"accumulators": layer.observed.accumulators if layer.observed else 0}
                | {name: getattr(row, name) for name in Narrowed.__slots__[1:]}
                for layer in self.layers
                for row in layer.narrowed
            ]
        )


def _line(layer: LayerAccumulator) -> dict[str, object]:
    bound, seen, constant = layer.bound, layer.observed, layer.constant
    return {
        "node": bound.node,
        "operator": layer.operator,
        "datatype_bits": bound.datatype_bits,
        "weight_aware_bits": bound.weight_aware_bits,
        "bits": bound.bits,
        "low": bound.low,
        "high": bound.high,
        "sum_low": bound.sum_low,
        "sum_high": bound.sum_high,
        "observed_bits": seen.bits if seen else None,
        "observed_low": seen.low if seen else None,
        "observed_high": seen.high if seen else None,
        "partial_bits": seen.partial_bits if seen else None,
        "accumulators": seen.accumulators if seen else None,
        "constant_channels": constant.channels if constant else 0,
        "bits_without_constants": constant.bits if constant else bound.bits,
    }


def constant_channels_of(
    graph: Graph, node: Node, bound: AccumulatorBound
) -> ConstantChannels | None:
    """Return the channels of zero weights, if the node could be narrower without them."""
    if node.op not in WEIGHTED or len(node.inputs) < 3 or not node.inputs[2]:
        return None
    dead = constant_channels(graph, node)
    if not dead.any():
        return None
    rest = weighted_bound(graph, node, ~dead)
    if rest.bits >= bound.bits and rest.weight_aware_bits >= bound.weight_aware_bits:
        return None
    x, weights, bias = (graph.values[name] for name in node.inputs[:3])
    assert bias.data is not None and x.quant is not None and weights.quant is not None
    scales = np.array(weights.quant.scale, np.float64)
    reals = bias.data.astype(np.float64) * x.quant.scale[0] * scales
    return ConstantChannels(
        channels=int(dead.sum()),
        bias_low=int(bias.data[dead].min()),
        bias_high=int(bias.data[dead].max()),
        real_low=float(reals[dead].min()),
        real_high=float(reals[dead].max()),
        bits=rest.bits,
        weight_aware_bits=rest.weight_aware_bits,
    )


def widths_to_try(observed: Observed, given: Sequence[int] | None) -> tuple[int, ...]:
    """Return the widths of a node that are worth counting, widest first.

    Without `given`, those that the data needed for all sums or for the finished ones, less one
    each, and one less: wider ones break nothing on this data.

    Raises:
        InputError: If a given width is out of range.
    """
    least, most = ACCUMULATOR_BITS
    for bits in given or ():
        if not least <= bits <= most:
            raise InputError(f"accumulator bits must be in [{least}, {most}], not {bits}")
    if given is None:
        given = range(observed.bits - 2, observed.partial_bits)
    return tuple(sorted((bits for bits in set(given) if bits >= least), reverse=True))
