"""What a unit moves: bits of every operand at every memory level, and its layers' schedules."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from hwsim.platform import MemoryLevel
from hwsim.workload import Layer

from .traffic import LevelTraffic, Traffic

IFMAP, WEIGHTS, SUMS = "ifmap", "weights", "partial_sums"


@dataclass(frozen=True, slots=True)
class Access:
    """Bits of one operand read from and written to one level.

    The write of an ifmap is that by the layer that makes it.
    """

    operand: str
    level: str
    read_bits: int
    write_bits: int


@dataclass(frozen=True, slots=True)
class Streamed:
    """How one layer streams through a border.

    Args:
        node: The layer.
        level: The memory inside whose room the tiles share.
        resident: Whether its inputs are inside already.
        order: Its loops over tiles, from the outside in.
        tile: The sizes of its tiles.
        ifmap_bits: Inputs that come in.
        weight_bits: Weights that come in.
        sum_bits: Partial sums that go out, and as many that come back.
    """

    node: str
    level: str
    resident: bool
    order: str
    tile: Mapping[str, int]
    ifmap_bits: int
    weight_bits: int
    sum_bits: int


@dataclass(frozen=True, slots=True)
class Demand:
    """Words that an array exchanges with the innermost levels of a layer's operands.

    Args:
        ifmap: Input elements read.
        weights: Weights read.
        sums: Partial sums written, and as many read.
    """

    ifmap: int
    weights: int
    sums: int = 0


@dataclass(frozen=True, slots=True)
class OwnSchedule:
    """How an array with a schedule of its own streams a layer: words that come in, and its room.

    Args:
        order: What it is, for people.
        tile: Its sizes.
        ifmap: Input elements.
        weights: Weights.
        working_bits: What it takes of the memory inside.
    """

    order: str
    tile: Mapping[str, int]
    ifmap: int
    weights: int
    working_bits: int


@dataclass(frozen=True, slots=True)
class Streaming:
    """What a platform's array adds to its memories.

    Args:
        sum_bits: Width of its accumulators.
        register_sums: Accumulators in the array, for a platform that has no memory for them.
        demand: What the array reads of a layer; None: every operand once.
        own: The array's own schedule of a unit's layer; None: the one of least traffic is searched.
    """

    sum_bits: int
    register_sums: int = 1
    demand: Callable[[Layer], Demand] | None = None
    own: Callable[[str, Layer], OwnSchedule] | None = None


@dataclass(frozen=True, slots=True)
class Movement:
    """What a unit moves at one option.

    Args:
        traffic: Its compulsory traffic.
        accesses: By operand and level, in file order.
        streamed: Its layers' schedules at every border, from the inside out.
        resident: Whether its activations stay inside of the outermost border.
    """

    traffic: Traffic
    accesses: tuple[Access, ...]
    streamed: tuple[Streamed, ...]
    resident: bool

    def levels(self, memory: Sequence[MemoryLevel]) -> dict[str, LevelTraffic]:
        """Return the traffic of every level."""
        return {
            level.name: LevelTraffic(
                sum(a.read_bits for a in self.accesses if a.level == level.name),
                sum(a.write_bits for a in self.accesses if a.level == level.name),
            )
            for level in memory
        }
