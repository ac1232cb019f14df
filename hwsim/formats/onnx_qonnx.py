"""Readers of QONNX's quantizers: Quant (IntQuant), BipolarQuant and Trunc.

Every step is a float32 step, in QONNX's order. Source: qonnx 1.0.0, custom_op/general/intquant.py,
bipolar_quant.py and trunc.py. Oracle: tests/oracle/qonnx.py.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from hwsim.attributes import FakeQuantAttrs, FakeTruncAttrs, RealRounding
from hwsim.errors import FormatError, GraphError, UnsupportedOperatorError, shown
from hwsim.formats.onnx_builder import Builder, Facet, Names
from hwsim.ops import Op
from hwsim.quant import IntType, QuantParams

DOMAINS = (
    "qonnx.custom_op.general",
    "finn.custom_op.general",
    "finn",
    "onnx.brevitas",
)
MAX_BITS = 16
_SIGNED, _UNSIGNED = 1000, 2000

_ROUNDINGS: Mapping[str, RealRounding] = MappingProxyType(
    {
        "ROUND": RealRounding.HALF_EVEN,
        "HALF_EVEN": RealRounding.HALF_EVEN,
        "HALF_UP": RealRounding.HALF_AWAY,
        "HALF_DOWN": RealRounding.HALF_ZERO,
        "FLOOR": RealRounding.FLOOR,
        "CEIL": RealRounding.CEIL,
        "UP": RealRounding.AWAY,
        "DOWN": RealRounding.ZERO,
        "ROUND_TO_ZERO": RealRounding.ZERO,
    }
)
_INPUTS: Mapping[str, tuple[int, ...]] = MappingProxyType(
    {"Quant": (4,), "IntQuant": (4,), "BipolarQuant": (2,), "Trunc": (5, 6)}
)
_ATTRIBUTES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "Quant": ("signed", "narrow", "rounding_mode"),
        "IntQuant": ("signed", "narrow", "rounding_mode"),
        "BipolarQuant": (),
        "Trunc": ("signed", "narrow", "rounding_mode"),
    }
)


def type_number(dtype: IntType) -> float:
    """Return a type as a number that float32 holds and no type shares."""
    return float(dtype.bits + (_SIGNED if dtype.signed else _UNSIGNED))


def type_of_number(number: float) -> IntType | None:
    """Return the type that `type_number` wrote, or None if it did not."""
    for base in (_SIGNED, _UNSIGNED):
        if number == int(number) and 1 <= number - base <= MAX_BITS:
            return IntType(int(number) - base, signed=base == _SIGNED)
    return None


def read_quantizer(b: Builder, node: onnx.NodeProto, names: Names) -> None:
    """Read a node of a QONNX domain.

    Raises:
        UnsupportedOperatorError: If it is none of the quantizers.
        FormatError: If its inputs or attributes break QONNX's rules or ours.
    """
    kind = node.op_type
    if kind not in _INPUTS:
        raise UnsupportedOperatorError(
            f"operator of domain {shown(node.domain)} must be one of {', '.join(_INPUTS)}, "
            f"not {shown(kind)}"
        )
    if len(names) not in _INPUTS[kind] or "" in names:
        allowed = " or ".join(map(str, _INPUTS[kind]))
        raise FormatError(f"inputs must be {allowed}, all present, not {len(names)}")
    if len(node.output) != 1 or not node.output[0]:
        raise FormatError(f"outputs must be 1, not {len(node.output)}")
    if names[0] not in b.constants and names[0] not in b.values:
        raise GraphError(f"input {shown(names[0])!r} must be made before it is read")
    attrs = _attributes(node)
    if kind == "Trunc":
        _read_trunc(b, node, names, attrs)
        return
    quantizer = _bipolar(b, names) if kind == "BipolarQuant" else _quant(b, names, attrs)
    if names[0] in b.constants:
        b.add_constant(node.output[0], quantizer.facet(b.constants[names[0]], b.facet))
        return
    made = quantizer.computed(b.shape(names[0]))
    b.emit(Op.FAKE_QUANT, made, (names[0],), (node.output[0],))


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    known = _ATTRIBUTES[node.op_type]
    found: dict[str, Any] = {}
    for attribute in node.attribute:
        name = attribute.name
        if name not in known:
            raise FormatError(
                f"attribute must be one of {', '.join(known) or 'none'}, not {shown(name)!r}"
            )
        value = helper.get_attribute_value(attribute)
        if name == "rounding_mode":
            text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
            if text.upper() not in _ROUNDINGS:
                raise FormatError(
                    f"rounding_mode must be one of {', '.join(_ROUNDINGS)}, not {shown(text)}"
                )
            found[name] = _ROUNDINGS[text.upper()]
        elif value not in (0, 1):
            raise FormatError(f"{name} must be 0 or 1, not {shown(str(value))}")
        else:
            found[name] = bool(value)
    return found


@dataclass(frozen=True)
class _Quantizer:
    """A quantizer with its parameters as float32 arrays that broadcast against x."""

    scale: NDArray[np.float32]
    zero_point: NDArray[np.float32]
    dtype: IntType
    low: int
    high: int
    rounding: RealRounding = RealRounding.HALF_EVEN
    bipolar: bool = False

    def facet(self, reals: NDArray[Any], facet: Facet) -> NDArray[np.float32]:
        """Return what a constant is read as."""
        if reals.dtype.kind != "f":
            raise FormatError(f"x must hold reals, not {reals.dtype}")
        x = reals.astype(np.float32)
        try:
            scale = np.broadcast_to(self.scale, x.shape)
        except ValueError as error:
            raise FormatError(
                f"scale must broadcast to x of shape {x.shape}, not be {self.scale.shape}"
            ) from error
        if facet is Facet.SCALES:
            return scale.copy()
        if facet is Facet.TYPES:
            return np.full(x.shape, type_number(self.dtype), np.float32)
        if self.bipolar:
            codes = np.where(x >= 0, np.float32(1), np.float32(-1))
        else:
            with np.errstate(over="ignore"):
                exact = np.clip(x / self.scale + self.zero_point, self.low, self.high)
            codes = rounded(np.asarray(exact, np.float32), self.rounding) - self.zero_point
        return codes if facet is Facet.CODES else np.asarray(codes * self.scale, np.float32)

    def computed(self, shape: tuple[int, ...]) -> FakeQuantAttrs:
        """Return the attributes for a computed tensor of this shape."""
        wide = max(self.scale.ndim, self.zero_point.ndim)
        try:
            sizes = np.broadcast_shapes(self.scale.shape, self.zero_point.shape)
            fits = wide <= len(shape) and np.broadcast_shapes(sizes, shape) == shape
        except ValueError:
            fits = False
        long = [index for index, size in enumerate(sizes) if size != 1] if fits else []
        first = len(shape) - wide
        if not fits or len(long) > 1 or (long and first + long[0] == 0):
            raise FormatError(
                "scale and zeropt must hold one number, or one per index of one axis of x behind "
                f"the first, not be {self.scale.shape} and {self.zero_point.shape} for {shape}"
            )
        scales = np.broadcast_to(self.scale, sizes).ravel()
        zeros = np.broadcast_to(self.zero_point, sizes).ravel()
        quant = QuantParams(
            tuple(float(s) for s in scales),
            tuple(int(z) for z in zeros),
            first + long[0] if long else None,
        )
        return FakeQuantAttrs(
            quant, self.dtype.bits, self.low, self.high, self.rounding, self.bipolar
        )


def rounded(y: NDArray[np.float32], rounding: RealRounding) -> NDArray[np.float32]:
    """Round reals as QONNX does, each step in float32."""
    half = np.float32(0.5)
    match rounding:
        case RealRounding.HALF_EVEN:
            return np.rint(y)
        case RealRounding.FLOOR:
            return np.floor(y)
        case RealRounding.CEIL:
            return np.ceil(y)
        case RealRounding.ZERO:
            return np.trunc(y)
        case RealRounding.AWAY:
            return np.sign(y) * np.ceil(np.abs(y))
        case RealRounding.HALF_AWAY:
            return np.sign(y) * np.floor(np.abs(y) + half)
        case RealRounding.HALF_ZERO:
            return np.sign(y) * np.ceil(np.abs(y) - half)


def _reals(b: Builder, names: Sequence[str], slot: int, what: str) -> NDArray[np.float32]:
    array = b.constant(names, slot, what)
    if array.dtype.kind not in "fiu" or not array.size:
        raise FormatError(f"{what} must hold numbers, not {array.size} of {array.dtype}")
    return array.astype(np.float32)


def _scale(b: Builder, names: Sequence[str], slot: int, what: str = "scale") -> NDArray[np.float32]:
    scale = _reals(b, names, slot, what)
    if not (np.isfinite(scale) & (scale > 0)).all():
        raise FormatError(f"{what} must hold positive finite numbers; one is not")
    return scale


def _whole(b: Builder, names: Sequence[str], slot: int, what: str) -> NDArray[np.float32]:
    array = _reals(b, names, slot, what)
    if not (np.isfinite(array) & (array == np.rint(array)) & (np.abs(array) < 1 << 24)).all():
        raise FormatError(f"{what} must hold whole numbers; one is not")
    return array


def _bits(b: Builder, names: Sequence[str], slot: int, what: str) -> int:
    array = _whole(b, names, slot, what)
    if array.size != 1 or not 1 <= array.item() <= MAX_BITS:
        given = f"{array.item():g}" if array.size == 1 else f"{array.size} numbers"
        raise FormatError(f"{what} must be one number in [1, {MAX_BITS}], not {given}")
    return int(array.item())


def _ends(bits: int, signed: bool, narrow: bool) -> tuple[int, int]:
    """Return the codes of a width. Source: min_int and max_int of intquant.py."""
    if signed:
        return -(1 << (bits - 1)) + narrow, (1 << (bits - 1)) - 1
    return 0, (1 << bits) - 1 - narrow


def _quant(b: Builder, names: Sequence[str], attrs: Mapping[str, Any]) -> _Quantizer:
    scale, zero_point = _scale(b, names, 1), _whole(b, names, 2, "zeropt")
    bits = _bits(b, names, 3, "bitwidth")
    signed, narrow = attrs.get("signed", True), attrs.get("narrow", True)
    if bits == 1 and signed:
        if zero_point.any():
            raise FormatError("zeropt must be 0 where bitwidth is 1 and signed")
        return _two_valued(scale)
    low, high = _ends(bits, signed, narrow)
    if ((zero_point < low) | (zero_point > high)).any():
        raise FormatError(f"zeropt must be a code in [{low}, {high}]; one is not")
    rounding = attrs.get("rounding_mode", RealRounding.HALF_EVEN)
    return _Quantizer(scale, zero_point, IntType(bits, signed), low, high, rounding)


def _bipolar(b: Builder, names: Sequence[str]) -> _Quantizer:
    return _two_valued(_scale(b, names, 1))


def _two_valued(scale: NDArray[np.float32]) -> _Quantizer:
    """Return the quantizer to -1 and 1, which take two bits of two's complement."""
    return _Quantizer(scale, np.zeros((), np.float32), IntType(2), -1, 1, bipolar=True)


def _read_trunc(
    b: Builder, node: onnx.NodeProto, names: Sequence[str], attrs: Mapping[str, Any]
) -> None:
    """Read Trunc of 5 inputs (version 1) or 6 (version 2, with its own scale and clamp)."""
    scale, zero_point = _scale(b, names, 1), _whole(b, names, 2, "zeropt")
    if scale.size != 1 or zero_point.size != 1:
        raise FormatError(f"scale and zeropt must be one number each, not {scale.size}")
    if names[0] in b.constants:
        raise FormatError("x must be computed, not a constant")
    rounding = attrs.get("rounding_mode", RealRounding.FLOOR)
    bits = _bits(b, names, len(names) - 1, "out_bitwidth")
    quant = QuantParams.per_tensor(scale.item(), int(zero_point.item()))
    ends = None
    if len(names) == 5:
        given = _whole(b, names, 3, "in_bitwidth")
        if given.size != 1 or not bits <= given.item() <= 2 * MAX_BITS:
            raise FormatError(f"in_bitwidth must be one number in [{bits}, {2 * MAX_BITS}]")
        shift = int(given.item()) - bits
        output = scale.item(), zero_point.item()
    else:
        out_scale = _scale(b, names, 4, "out_scale")
        if out_scale.size != 1:
            raise FormatError(f"out_scale must be one number, not {out_scale.size}")
        shift = round(math.log2(out_scale.item() / scale.item()))
        output = out_scale.item(), zero_point.item() / 2.0**shift
        ends = _ends(bits, attrs.get("signed", True), attrs.get("narrow", False))
    made = FakeTruncAttrs(quant, shift, rounding, output, ends)
    b.emit(Op.FAKE_TRUNC, made, (names[0],), (node.output[0],))
