"""One pass of a block engine: what it reads, what it makes, and in which layout they lie.

Plane means (height, width, channels). Layouts follow Arm Vela: a tensor that crosses the
network's border, or that a reshape shows in two shapes, is *linear* (NHWC); every other one lies
in *bricks* of 16 channels, so that its depth rounds up to 16.
"""

from dataclasses import dataclass, replace
from enum import Enum

BRICK = 16

Plane = tuple[int, int, int]


class Stage(Enum):
    """How the engine walks a pass."""

    CONV = "conv"
    DEPTHWISE = "depthwise"
    POOL = "pool"
    REDUCE = "reduce"
    ELEMENTWISE = "elementwise"


class Output(Enum):
    """Which rate the output stage has."""

    DEFAULT = "default"
    ADD = "add"
    MULTIPLY = "multiply"
    MAX_POOL = "max_pool"
    TABLE = "table"
    WIDE = "wide"
    WIDE_UNARY = "wide_unary"


@dataclass(frozen=True, slots=True)
class Pass:
    """A pass of the engine over one output plane.

    Args:
        stage: How the array walks it.
        ifm: Plane read.
        ofm: Plane made.
        kernel: (height, width) of the window.
        stride: (height, width) of its steps.
        output: The rate of the output stage.
        ifm_bits: Width of what is read.
        ofm_bits: Width of what is made.
        linear_in: Whether the input lies linear, else in bricks.
        linear_out: The same of the output.
        operands: Feature maps read: 1 or 2.
        constant: Whether one of two operands is a constant of the weights' memory.
        biased: Whether a scale and a bias of 10 bytes are read for every output channel.
    """

    stage: Stage
    ifm: Plane
    ofm: Plane
    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    output: Output = Output.DEFAULT
    ifm_bits: int = 8
    ofm_bits: int = 8
    linear_in: bool = False
    linear_out: bool = False
    operands: int = 1
    constant: bool = False
    biased: bool = False

    def to_depth(self, depth: int) -> "Pass":
        """Return the pass over the first channels of its output alone."""
        return replace(self, ofm=(self.ofm[0], self.ofm[1], depth))


def elements(plane: Plane) -> int:
    """Return the number of codes of a plane."""
    return plane[0] * plane[1] * plane[2]


def clipped(block: Plane, plane: Plane) -> Plane:
    """Return the part of a block that a plane fills."""
    return (min(block[0], plane[0]), min(block[1], plane[1]), min(block[2], plane[2]))


def stored_depth(depth: int, *, linear: bool) -> int:
    """Return the channels that a layout stores."""
    return depth if linear else -(-depth // BRICK) * BRICK
