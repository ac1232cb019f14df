"""Codes of ONNX files: their types, scales and zero points, and constants that hold them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsim.attributes import ReshapeAttrs
from hwsim.errors import FormatError, GraphError, shown
from hwsim.formats.onnx_builder import Builder, Kind, Names
from hwsim.graph import Value
from hwsim.ops import OPS, Op
from hwsim.quant import INT32, IntType, QuantParams
from hwsim.workload import Work

COUNTS = QuantParams.per_tensor(1.0)  # an accumulator that a file calls an integer


def type_of_array(b: Builder, name: str) -> IntType:
    """Return the integer type of a constant.

    Raises:
        FormatError: If it holds no integers.
    """
    array = b.constants[name]
    if name in b.narrow:
        return b.narrow[name]
    if array.dtype.kind not in "iu" or array.dtype.itemsize > 4:
        raise FormatError(f"constant {shown(name)!r} must hold codes, not {array.dtype}")
    return IntType(8 * array.dtype.itemsize, array.dtype.kind == "i")


def type_of(b: Builder, name: str) -> IntType:
    """Return the integer type of a tensor.

    Raises:
        FormatError: If it holds reals.
    """
    if name not in b.values:
        return type_of_array(b, name)
    dtype = b.values[name].dtype
    if not isinstance(dtype, IntType):
        raise FormatError(f"input {shown(name)!r} must hold codes, not {dtype}")
    return dtype


def params(
    b: Builder,
    names: Names,
    slot: int,
    what: str,
    dtype: IntType | None,
    axis: int | None = None,
    length: int = 1,
) -> tuple[QuantParams, IntType]:
    """Return a scale and the zero point behind it, and the type of the codes.

    Args:
        b: What has been read.
        names: The node's inputs; the scale is at `slot`, its zero point at `slot + 1`.
        slot: Where the scale is.
        what: The tensor's name in the operator's documentation.
        dtype: The codes' type where it is known, else the zero point's; uint8 without one.
        axis: The axis of parameters per index, where the operator allows them.
        length: Indices of that axis.

    Raises:
        FormatError: If they are no constants, or do not fit the codes.
    """
    scale = _scale(b, names, slot, what)
    zero, dtype = _zero(b, names, slot + 1, what, dtype)
    if scale.size == 1:
        if zero.size != 1 and len(set(zero.tolist())) != 1:
            raise FormatError(f"{what}_zero_point must be one code, not {zero.size}")
        return QuantParams.per_tensor(float(scale[0]), int(zero[0])), dtype
    if axis is None:
        raise FormatError(f"{what}_scale must be one number, not {scale.size}")
    if scale.size != length:
        raise FormatError(f"{what}_scale must hold 1 or {length} numbers, not {scale.size}")
    if zero.size not in (1, length):
        raise FormatError(f"{what}_zero_point must hold 1 or {length} codes, not {zero.size}")
    zeros = np.broadcast_to(zero, scale.shape)
    return QuantParams(tuple(map(float, scale)), tuple(map(int, zeros)), axis), dtype


def _scale(b: Builder, names: Names, slot: int, what: str) -> NDArray[Any]:
    scale = b.constant(names, slot, f"{what}_scale")
    if scale.dtype.kind != "f" or scale.ndim > 1 or scale.size == 0:
        raise FormatError(
            f"{what}_scale must be floats on at most one axis, not {scale.dtype} of shape "
            f"{scale.shape}"
        )
    # A float32 below is what every runtime computes with.
    with np.errstate(over="ignore", under="ignore"):
        reals = scale.ravel().astype(np.float32)
    if not (np.isfinite(reals).all() and (reals > 0).all()):
        raise FormatError(f"{what}_scale must be positive and finite, not {float(reals.min())}")
    return reals


def _zero(
    b: Builder, names: Names, slot: int, what: str, dtype: IntType | None
) -> tuple[NDArray[Any], IntType]:
    zero = b.optional(names, slot, f"{what}_zero_point")
    if zero is None:
        return np.zeros(1, np.int64), dtype or IntType(8, signed=False)
    given = type_of_array(b, names[slot])
    if dtype is not None and given != dtype:
        raise FormatError(f"{what}_zero_point must be {dtype} like the codes, not {given}")
    if zero.ndim > 1 or zero.size == 0:
        raise FormatError(f"{what}_zero_point must have at most one axis, not shape {zero.shape}")
    return zero.ravel().astype(np.int64), given


def as_codes(b: Builder, name: str, quant: QuantParams) -> str:
    """Return a tensor of codes whose parameters are `quant`.

    A tensor without parameters (an input of the graph) takes them; one that its maker gave others
    is the same codes under another name.
    """
    if name in b.constants:
        return code_literal(b, name, b.constants[name], Kind(type_of_array(b, name), quant))
    value = b.values[name]
    type_of(b, name)
    if value.quant is None:
        _give(b, name, quant)
        return name
    if value.quant == quant:
        return name
    view = f"{name}/as"
    while view in b.values and b.values[view].quant != quant:
        view += "'"
    if view not in b.values:
        kind = Kind(value.dtype, quant)
        b.emit(Op.RESHAPE, ReshapeAttrs(value.shape), (name,), (view,), (kind,))
    return view


def _give(b: Builder, name: str, quant: QuantParams) -> None:
    """State the parameters of codes that had none, and of the codes they were moved from."""
    value = b.values[name]
    b.values[name] = Value(name, value.shape, value.dtype, quant)
    for node in b.nodes:
        if name in node.outputs and OPS[node.op].work is Work.MOVE and quant.is_per_tensor:
            for source in node.inputs:
                if b.values[source].quant is None:
                    _give(b, source, quant)


def code_literal(b: Builder, name: str, array: NDArray[Any], kind: Kind) -> str:
    """File constant codes as a value; return its name, with a mark where that is taken."""
    if not isinstance(kind.dtype, IntType):
        raise GraphError(f"tensor {shown(name)!r} must hold codes, not {kind.dtype}")
    data = np.array(array, kind.dtype.storage, order="C")
    while True:
        found = b.values.get(name)
        if found is None:
            b.values[name] = Value(name, data.shape, kind.dtype, kind.quant, data)
            return name
        same = found.data is not None and np.array_equal(found.data, data)
        if same and (found.dtype, found.quant) == (kind.dtype, kind.quant):
            return name
        name += "'"


def bias_codes(
    b: Builder, names: Names, slot: int, channels: int, factor: Sequence[float]
) -> NDArray[Any] | None:
    """Return a bias in units of the accumulator, or None where it is absent.

    A bias of reals is divided by `factor`, s_x * s_w in float32, ties to even.
    """
    bias = b.optional(names, slot, "bias")
    if bias is None:
        return None
    flat = bias.ravel()
    if flat.size not in (1, channels) or bias.shape[-1:] not in ((), (flat.size,)):
        raise FormatError(f"bias must have shape ({channels},), not {bias.shape}")
    if flat.dtype.kind == "f":
        units = np.array(factor, np.float32)
        with np.errstate(over="ignore"):
            rounded = np.rint(flat.astype(np.float32) / units).astype(np.float64)
        flat = np.clip(rounded, INT32.min, INT32.max)
    elif bias.dtype != np.int32:
        raise FormatError(f"bias must be int32, not {bias.dtype}")
    return np.broadcast_to(flat.astype(np.int32), (channels,))
