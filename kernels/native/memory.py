"""Raw addresses in compiled code: views, calls through a pointer."""

from functools import cache
from typing import Any, cast

from hwsim.kernels.jit import Lazy, intrinsic, jit, native

_KINDS = ("int8", "uint8", "int16", "uint16", "int32", "int64", "float32", "float64")


def _carray() -> Any:
    from numba import carray  # type: ignore[attr-defined]

    return carray


array: Any = Lazy(_carray)
"""A view of (pointer, shape)."""


@intrinsic
def pointer(typing_context: Any, address: Any, kind: Any) -> Any:
    """Return an address (int64) as a pointer to elements of a kind, written as a constant."""
    from numba import types
    from numba.core.errors import TypingError

    if not isinstance(kind, types.StringLiteral) or kind.literal_value not in _KINDS:
        raise TypingError(f"kind must be a constant of {', '.join(_KINDS)}")
    result = cast(Any, types).CPointer(getattr(types, kind.literal_value))

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.inttoptr(values[0], context.get_value_type(result))

    return result(types.int64, kind), codegen


@jit
def int64s(address: int, count: int) -> Any:
    """Return int64 words at an address."""
    return array(pointer(address, "int64"), (count,))


@intrinsic
def call_entry(typing_context: Any, entry: Any, arguments: Any) -> Any:
    """Call machine code at an address with the address of its arguments."""
    from llvmlite import ir
    from numba import types

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        kind = ir.FunctionType(ir.VoidType(), [ir.IntType(64)])
        builder.call(builder.inttoptr(values[0], kind.as_pointer()), [values[1]])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), codegen


@cache
def walk_kernel() -> Any:
    """Return the kernel that calls others in turn.

    Its words: address of int64 entries, how many, address of the first's arguments, bytes from
    there to the next's.
    """

    def walk(words: int) -> None:
        at = int64s(words, 4)
        entries = int64s(at[0], at[1])
        for index in range(at[1]):
            call_entry(entries[index], at[2] + index * at[3])

    return native(walk)
