"""Integer types, quantization parameters and rounding rules."""

import math
from dataclasses import dataclass
from enum import Enum
from fractions import Fraction
from functools import cache

import numpy as np
from numpy.typing import DTypeLike, NDArray

from hwsim.errors import QuantizationError

MAX_BITS = 64
SMALLEST_SCALE = 2.0**-126


class Rounding(Enum):
    """How a value between two integers becomes one of them.

    | exact       | -2.5 | -1.5 | -0.5 | 0.5 | 1.5 | 2.5 |
    |-------------|------|------|------|-----|-----|-----|
    | `HALF_UP`   |  -2  |  -1  |   0  |  1  |  2  |  3  |
    | `HALF_AWAY` |  -3  |  -2  |  -1  |  1  |  2  |  3  |
    | `HALF_EVEN` |  -2  |  -2  |   0  |  0  |  2  |  2  |
    | `FLOOR`     |  -3  |  -2  |  -1  |  0  |  1  |  2  |
    | `TRUNC`     |  -2  |  -1  |   0  |  0  |  1  |  2  |
    """

    HALF_UP = "half_up"
    HALF_AWAY = "half_away"
    HALF_EVEN = "half_even"
    FLOOR = "floor"
    TRUNC = "trunc"

    def of(self, exact: Fraction) -> int:
        """Round one exact value."""
        match self:
            case Rounding.HALF_UP:
                return math.floor(exact + Fraction(1, 2))
            case Rounding.HALF_AWAY:
                magnitude = math.floor(abs(exact) + Fraction(1, 2))
                return magnitude if exact >= 0 else -magnitude
            case Rounding.HALF_EVEN:
                return round(exact)
            case Rounding.FLOOR:
                return math.floor(exact)
            case Rounding.TRUNC:
                return math.trunc(exact)


@dataclass(frozen=True, slots=True)
class IntType:
    """A two's complement or unsigned integer of 1 to 64 bits.

    The width is the one that costs are computed with; `storage` is the NumPy type that holds it.
    """

    bits: int
    signed: bool = True

    def __post_init__(self) -> None:
        """Refuse widths that no datapath of ours has."""
        if not 1 <= self.bits <= MAX_BITS:
            raise QuantizationError(f"bits must be in [1, {MAX_BITS}], not {self.bits}")

    @property
    def min(self) -> int:
        """The smallest code."""
        return -(1 << (self.bits - 1)) if self.signed else 0

    @property
    def max(self) -> int:
        """The largest code."""
        return (1 << (self.bits - 1)) - 1 if self.signed else (1 << self.bits) - 1

    @property
    def storage(self) -> np.dtype[np.integer]:
        """The narrowest NumPy integer type that holds every code."""
        return _storage(self.bits, self.signed)

    def __str__(self) -> str:
        """Return the short form used in tables, as int8 or uint4."""
        return f"{'int' if self.signed else 'uint'}{self.bits}"


@cache
def _storage(bits: int, signed: bool) -> np.dtype[np.integer]:
    width = next(size for size in (8, 16, 32, 64) if size >= bits)
    return np.dtype(f"{'int' if signed else 'uint'}{width}")


@dataclass(frozen=True, slots=True)
class FloatType:
    """An IEEE binary floating-point type; hwsim's float graphs use 32 bits."""

    bits: int = 32

    def __post_init__(self) -> None:
        """Refuse widths that are not IEEE's."""
        if self.bits not in (16, 32, 64):
            raise QuantizationError(f"float bits must be one of 16, 32, 64, not {self.bits}")

    @property
    def storage(self) -> np.dtype[np.floating]:
        """The NumPy type of the same width."""
        return np.dtype(f"float{self.bits}")

    def __str__(self) -> str:
        """Return the short form used in tables, as float32."""
        return f"float{self.bits}"


DType = IntType | FloatType
FLOAT32 = FloatType(32)
INT8 = IntType(8)
UINT8 = IntType(8, signed=False)
INT32 = IntType(32)


@dataclass(frozen=True, slots=True)
class QuantParams:
    """The affine map real = scale * (code - zero_point).

    Args:
        scale: One positive float per tensor, or one per index of `axis`; a normal number of
            float32, so that no runtime flushes it to zero.
        zero_point: As many codes as scales.
        axis: The kept axis of per-channel parameters; None is per tensor.
    """

    scale: tuple[float, ...]
    zero_point: tuple[int, ...]
    axis: int | None = None

    def __post_init__(self) -> None:
        """Refuse parameters that define no map."""
        for index, scale in enumerate(self.scale):
            if not (math.isfinite(scale) and scale > 0):
                raise QuantizationError(
                    f"scale[{index}] must be a positive finite number, not {scale}"
                )
            if scale < SMALLEST_SCALE:
                raise QuantizationError(
                    f"scale[{index}] must be at least {SMALLEST_SCALE:g}, the smallest normal "
                    f"float32, not {scale:g}"
                )
        if not self.scale:
            raise QuantizationError("scale must hold at least one number, not none")
        if len(self.zero_point) != len(self.scale):
            raise QuantizationError(
                f"zero_point must hold {len(self.scale)} codes, one per scale, "
                f"not {len(self.zero_point)}"
            )
        if self.axis is None and len(self.scale) != 1:
            raise QuantizationError(f"per-tensor scale must be one number, not {len(self.scale)}")
        if self.axis is not None and self.axis < 0:
            raise QuantizationError(f"axis must be 0 or more, not {self.axis}")

    @classmethod
    def per_tensor(cls, scale: float, zero_point: int = 0) -> "QuantParams":
        """Return parameters with one scale for the whole tensor."""
        return cls((float(scale),), (int(zero_point),))

    @property
    def is_per_tensor(self) -> bool:
        """Whether one scale and zero point serve the whole tensor."""
        return self.axis is None

    def broadcast(self, rank: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Return (scale, zero_point) shaped to broadcast against a tensor of `rank` axes."""
        scale = np.array(self.scale, np.float64)
        zero_point = np.array(self.zero_point, np.int64)
        if self.axis is None:
            return scale.reshape(()), zero_point.reshape(())
        shape = [1] * rank
        shape[self.axis] = len(self.scale)
        return scale.reshape(shape), zero_point.reshape(shape)


def symmetric_scale(magnitude: float, dtype: IntType) -> float:
    """Return the scale that maps `magnitude` to the largest code: max|x| / (2**(b-1) - 1).

    One-bit signed codes are {-1, 0}: there the smallest code carries the magnitude. A tensor of
    zeros gets scale 1. Source: sources.md, B.
    """
    return magnitude / max(dtype.max, 1) if magnitude > 0 else 1.0


_LARGEST = 2.0**52  # far beyond the codes of any activation, and exact in float64


def quantize_array(
    reals: NDArray[np.floating], dtype: IntType, params: QuantParams, rounding: Rounding
) -> NDArray[np.integer]:
    """Return codes clamp(round(real / scale) + zero_point), in `dtype.storage`.

    Args:
        reals: Any shape, finite; the division is done in their precision.
        dtype: The type of the codes.
        params: Per tensor, or per channel along an axis of `reals`.
        rounding: HALF_EVEN or HALF_AWAY.

    Raises:
        QuantizationError: If `reals` holds a NaN or an infinity, or the rounding has no rule here.
    """
    if not np.isfinite(reals).all():
        raise QuantizationError("values to quantize must be finite, not NaN or infinite")
    scale, zero_point = params.broadcast(reals.ndim)
    # The quotient is rounded in the precision of the reals, as runtimes divide; the rest is exact.
    with np.errstate(over="ignore", under="ignore"):
        exact = (reals / scale.astype(reals.dtype)).astype(np.float64)
    exact = np.clip(exact, -_LARGEST, _LARGEST)
    if rounding is Rounding.HALF_EVEN:
        codes = np.rint(exact)
    elif rounding is Rounding.HALF_AWAY:
        # floor(|x| + 1/2) is wrong one ulp below a half; trunc and compare is not.
        whole = np.trunc(exact)
        codes = whole + np.where(np.abs(exact - whole) >= 0.5, np.sign(exact), 0.0)
    else:
        raise QuantizationError(
            f"rounding of a real must be half_even or half_away, not {rounding.value}"
        )
    # Clamp in float64 first: a cast of an out-of-range float is undefined.
    shifted = np.clip(codes + zero_point, dtype.min, dtype.max)
    return shifted.astype(dtype.storage)


def dequantize_array(codes: NDArray[np.integer], params: QuantParams) -> NDArray[np.float32]:
    """Return scale * (code - zero_point) as float32."""
    scale, zero_point = params.broadcast(codes.ndim)
    with np.errstate(over="ignore"):  # a real beyond float32 is infinite
        return ((codes.astype(np.int64) - zero_point) * scale).astype(np.float32)


def fits(dtype: DType, array_dtype: DTypeLike) -> bool:
    """Whether a NumPy dtype is the one that stores `dtype`."""
    return np.dtype(array_dtype) == dtype.storage
