"""The time of a whole network on a block engine: layers in order, weights fetched ahead.

This is what a compiler's schedule takes. It is not additive over units: what a layer hides of
its weights depends on the layer before. The table of units (`npu.rows`) lets each layer hide its
transfer behind itself alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from hwsim.workload import Layer

from .block_cycles import access_of, pass_cycles
from .block_engine import Engine
from .block_pass import Pass, elements
from .block_passes import passes_of
from .block_search import block_of
from .weight_buffer import Slack, Stored, buffered, transfer_cycles

_SCALE_BYTES = 10
_WEIGHT_BITS = 8


@dataclass(frozen=True, slots=True)
class PassTime:
    """What one pass of a schedule takes, in cycles.

    Args:
        node: The layer's node.
        engine: Array, output stage and the transfers that nothing hides.
        feature_maps: The memory of feature maps.
        weights: The memory of weights.
    """

    node: str
    engine: int
    feature_maps: int
    weights: int

    @property
    def cycles(self) -> int:
        """The longest of the three."""
        return max(self.engine, self.feature_maps, self.weights)


def schedule(engine: Engine, layers: Sequence[Layer]) -> list[PassTime]:
    """Return what every pass of a network takes, in order of execution.

    Args:
        engine: What it runs on.
        layers: All layers, in any order; `Layer.order` sorts them.
    """
    found: list[PassTime] = []
    before: Slack | None = None
    for layer in sorted(layers, key=lambda layer: layer.order):
        passes = passes_of(layer)
        stored = _stored(layer, len(passes))
        for work in passes:
            time, before = _timed(engine, layer.node, work, stored, before)
            found.append(time)
    return found


def _stored(layer: Layer, passes: int) -> Stored:
    """Return the weights that each pass of a layer reads: encoded where known, else packed."""
    bits = layer.encoded_weight_bits
    if bits is None:
        bits = layer.weight_elements * _WEIGHT_BITS
    channels = layer.n * layer.groups
    return Stored(-(-bits // (8 * max(passes, 1))), -(-_SCALE_BYTES * channels // max(passes, 1)))


def _timed(
    engine: Engine, node: str, work: Pass, stored: Stored, before: Slack | None
) -> tuple[PassTime, Slack]:
    """Return what a pass takes and what it leaves to the next one's weights."""
    block = block_of(engine, work)
    live = (elements(work.ifm) * work.ifm_bits + elements(work.ofm) * work.ofm_bits) // 8
    limit = max(engine.staging - live, 0)
    alone = pass_cycles(engine, work, block).total
    access = access_of(engine, work, block)
    moved, per_cycle = access.feature_map_bytes, engine.activations.bytes_per_cycle
    slack = Slack(alone, limit)
    if not work.biased:
        return PassTime(node, alone, int(moved / per_cycle), 0), slack
    outside = (stored.weight_bytes + stored.scale_bytes) * access.weight_fetches
    plan = buffered(engine, work, block, stored, before, limit)
    total = alone
    if plan is not None:
        hidden = before.cycles if before else 0
        rest = max(stored.weight_bytes - (plan.first_bytes if plan.ahead else 0), 0)
        outside = rest + stored.scale_bytes * access.weight_fetches
        moved += rest + stored.weight_bytes * access.weight_fetches
        late = max(transfer_cycles(engine, plan.first_bytes) - hidden, 0)
        total = pass_cycles(engine, work, block, staged=True).total + late
        whole = transfer_cycles(engine, stored.total) - hidden + plan.last_cycles
        total = max(total, whole)
        slack = Slack(plan.last_cycles, limit - plan.last_bytes)
    time = PassTime(
        node, total, int(moved / per_cycle), int(outside / engine.weights.bytes_per_cycle)
    )
    return time, slack
