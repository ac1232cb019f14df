"""What an operator has besides its operands: strides, axes, shapes, fused activations."""

import math
from dataclasses import dataclass
from enum import Enum

from hwsim.quant import QuantParams

Shape = tuple[int, ...]


class Activation(Enum):
    """A clamp fused into an operator's output."""

    NONE = "none"
    RELU = "relu"
    RELU6 = "relu6"
    RELU_N1_TO_1 = "relu_n1_to_1"

    @property
    def bounds(self) -> tuple[float, float]:
        """The real interval that the activation clamps to."""
        return {
            Activation.NONE: (-math.inf, math.inf),
            Activation.RELU: (0.0, math.inf),
            Activation.RELU6: (0.0, 6.0),
            Activation.RELU_N1_TO_1: (-1.0, 1.0),
        }[self]


@dataclass(frozen=True, slots=True)
class NoAttrs:
    """An operator without attributes."""


@dataclass(frozen=True, slots=True)
class ConvAttrs:
    """A sliding window with weights; padding is (top, left, bottom, right)."""

    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    groups: int = 1
    activation: Activation = Activation.NONE


@dataclass(frozen=True, slots=True)
class TransposeConvAttrs:
    """A window that is scattered: x[i, j] adds to out[i * stride - origin + tap].

    `size` is the output's (height, width), `origin` its (top, left); what falls outside is lost.
    """

    size: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    origin: tuple[int, int] = (0, 0)
    activation: Activation = Activation.NONE


@dataclass(frozen=True, slots=True)
class PoolAttrs:
    """A sliding window without weights; padding is (top, left, bottom, right).

    `count_padding` says whether an average divides by the whole window at the border.
    """

    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    count_padding: bool = False
    activation: Activation = Activation.NONE


@dataclass(frozen=True, slots=True)
class FusedAttrs:
    """An elementwise operator with a fused activation.

    `powers_of_two` is what a TFLite file asks of an int16 ADD or SUB: where all three scales are
    powers of two, one operand is shifted and none is multiplied. Few implementations obey.
    """

    activation: Activation = Activation.NONE
    powers_of_two: bool = False


@dataclass(frozen=True, slots=True)
class FullyConnectedAttrs:
    """y = x Wᵀ + b over the last axis; without `keep_dims` leading axes are flattened."""

    keep_dims: bool = True
    activation: Activation = Activation.NONE


@dataclass(frozen=True, slots=True)
class MatMulAttrs:
    """scale * a @ b of two activations; the flags transpose the last two axes first."""

    transpose_a: bool = False
    transpose_b: bool = False
    scale: float = 1.0


@dataclass(frozen=True, slots=True)
class MeanAttrs:
    """Mean over axes, all 0 or more."""

    axes: tuple[int, ...]
    keep_dims: bool


@dataclass(frozen=True, slots=True)
class SoftmaxAttrs:
    """Softmax of beta * x over the last axis.

    `causal` leaves out what a query must not see: the last query sees every key, each one before
    it one key less. What is left out is exactly 0.
    """

    beta: float = 1.0
    causal: bool = False


@dataclass(frozen=True, slots=True)
class NormAttrs:
    """LAYER_NORM and RMS_NORM over the last axis, or BATCH_NORM per index of the last axis."""

    epsilon: float


@dataclass(frozen=True, slots=True)
class ClipAttrs:
    """Clamp of real values; a side may be infinite."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class LeakyReluAttrs:
    """x for x >= 0, alpha * x below."""

    alpha: float


@dataclass(frozen=True, slots=True)
class GeluAttrs:
    """x * Phi(x), or its tanh form."""

    tanh: bool = False


@dataclass(frozen=True, slots=True)
class ReshapeAttrs:
    """The new shape, fully stated."""

    shape: Shape


@dataclass(frozen=True, slots=True)
class TransposeAttrs:
    """Output axis i is input axis perm[i]."""

    perm: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class PadAttrs:
    """Elements added before and after each axis.

    `value` is a real in a float graph and a code in an integer one; None is real zero.
    """

    before: tuple[int, ...]
    after: tuple[int, ...]
    value: float | int | None = None


@dataclass(frozen=True, slots=True)
class ConcatAttrs:
    """The joined axis, 0 or more."""

    axis: int
    activation: Activation = Activation.NONE


@dataclass(frozen=True, slots=True)
class SliceAttrs:
    """out[i] = x[start + stride * i] for i < size, per axis; a stride may be negative."""

    starts: tuple[int, ...]
    strides: tuple[int, ...]
    sizes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class GatherAttrs:
    """The axis of the table that indices count along, 0 or more."""

    axis: int = 0


@dataclass(frozen=True, slots=True)
class SplitAttrs:
    """Pieces of the given sizes along an axis."""

    axis: int
    sizes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class LstmAttrs:
    """A recurrent layer; the real magnitude that its cell state is clamped to."""

    cell_clip: float = math.inf


@dataclass(frozen=True, slots=True)
class SvdfAttrs:
    """A rank-decomposed filter over time; `rank` features are summed into one unit."""

    rank: int
    activation: Activation = Activation.NONE


class RealRounding(Enum):
    """How QONNX rounds a real; its own names in brackets.

    * HALF_EVEN (ROUND), HALF_AWAY (HALF_UP), HALF_ZERO (HALF_DOWN): to the nearest integer, ties
      to even, away from zero, toward zero.
    * FLOOR, CEIL, AWAY (UP), ZERO (DOWN, ROUND_TO_ZERO): never to the nearest.
    """

    HALF_EVEN = "half_even"
    HALF_AWAY = "half_away"
    HALF_ZERO = "half_zero"
    FLOOR = "floor"
    CEIL = "ceil"
    AWAY = "away"
    ZERO = "zero"


@dataclass(frozen=True, slots=True)
class FakeQuantAttrs:
    """scale * (round(clamp(x / scale + zero_point, low, high)) - zero_point), in float32.

    Args:
        quant: Scale and zero point, per tensor or along an axis of x.
        bits: The declared width of the codes.
        low: Smallest code.
        high: Largest code; a bipolar quantizer has -1 and 1 and makes nothing between them.
        rounding: How the quotient becomes an integer.
        bipolar: Whether codes are 1 where x >= 0 and -1 elsewhere.
    """

    quant: QuantParams
    bits: int
    low: int
    high: int
    rounding: RealRounding = RealRounding.HALF_EVEN
    bipolar: bool = False


@dataclass(frozen=True, slots=True)
class FakeTruncAttrs:
    """Codes of x, shifted right and rounded, as reals: QONNX's Trunc, in float32.

    Args:
        quant: Scale and zero point of x, per tensor.
        shift: Codes are divided by 2**shift.
        rounding: How the quotient becomes an integer.
        output: Scale of the result and its real zero point.
        ends: Codes that the quotient is clamped to first, or None.
    """

    quant: QuantParams
    shift: int
    rounding: RealRounding
    output: tuple[float, float]
    ends: tuple[int, int] | None = None


Attrs = (
    NoAttrs | ConvAttrs | PoolAttrs | FusedAttrs | FullyConnectedAttrs | MatMulAttrs | MeanAttrs
    | SoftmaxAttrs | NormAttrs | ClipAttrs | LeakyReluAttrs | GeluAttrs | ReshapeAttrs
    | TransposeAttrs | PadAttrs | ConcatAttrs | SliceAttrs | SplitAttrs | LstmAttrs | SvdfAttrs
    | TransposeConvAttrs | GatherAttrs | FakeQuantAttrs | FakeTruncAttrs
)  # fmt: skip
