"""Raw addresses in compiled code: views, calls through a pointer."""

from typing import Any, cast

import numba
from llvmlite import ir
from numba import types
from numba.core.errors import TypingError
from numba.extending import intrinsic

from hwsim.kernels.jit import jit

_KINDS = {
    "int8": types.int8,
    "uint8": types.uint8,
    "int16": types.int16,
    "uint16": types.uint16,
    "int32": types.int32,
    "int64": types.int64,
    "float32": types.float32,
    "float64": types.float64,
}


array = cast(Any, numba).carray
"""A view of (pointer, shape)."""


def _pointer(typing_context: Any, address: Any, kind: Any) -> Any:
    """Return an address (int64) as a pointer to elements of a kind, written as a constant."""
    if not isinstance(kind, types.StringLiteral):
        raise TypingError("kind must be a constant")
    result = cast(Any, types).CPointer(_KINDS[kind.literal_value])

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.inttoptr(values[0], context.get_value_type(result))

    return result(types.int64, kind), codegen


pointer: Any = intrinsic(prefer_literal=True)(_pointer)


@jit
def int64s(address: int, count: int) -> Any:
    """Return int64 words at an address."""
    return array(pointer(address, "int64"), (count,))


def _call_entry(typing_context: Any, entry: Any, arguments: Any) -> Any:
    """Call machine code at an address with the address of its arguments."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        kind = ir.FunctionType(ir.VoidType(), [ir.IntType(64)])
        builder.call(builder.inttoptr(values[0], kind.as_pointer()), [values[1]])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), codegen


call_entry: Any = intrinsic(_call_entry)


@jit
def walk(entries: Any, arguments: int, pitch: int) -> None:
    """Call `entries` in turn; the arguments of one are `pitch` bytes after those of the last."""
    for index in range(entries.size):
        call_entry(entries[index], arguments + index * pitch)
