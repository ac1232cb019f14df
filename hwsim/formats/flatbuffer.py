"""Bounded reading of FlatBuffers: whatever the bytes say, a read ends in a value or a FormatError.

The flatbuffers package decodes offsets but does not verify them, so every vector is checked
against the file before it is touched, and the sum of all that is decoded is bounded.
"""

import struct
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from flatbuffers import number_types
from flatbuffers.table import Table
from numpy.typing import NDArray

from hwsim.errors import FormatError

# A well-formed file states each byte about once; a hostile one points at the same bytes often.
_DECODED_PER_BYTE = 64

_FLAGS = {
    "bool": number_types.BoolFlags,
    "int8": number_types.Int8Flags,
    "uint8": number_types.Uint8Flags,
    "int32": number_types.Int32Flags,
    "uint32": number_types.Uint32Flags,
    "uint64": number_types.Uint64Flags,
    "float32": number_types.Float32Flags,
}


@dataclass
class Buffer:
    """The bytes of a file and how much of them has been decoded.

    Args:
        name: What errors call the file.
        data: Its bytes.
    """

    name: str
    data: bytes
    decoded: int = field(default=0)

    def fail(self, reason: str) -> FormatError:
        """Return the error for a broken structure."""
        return FormatError(f"{self.name}: file must be a valid FlatBuffer; {reason}")

    def charge(self, size: int) -> None:
        """Count decoded bytes; raises FormatError when the file repeats itself without end."""
        self.decoded += size
        if self.decoded > _DECODED_PER_BYTE * len(self.data) + 4096:
            raise self.fail("its tables overlap")


class Record:
    """One table of a FlatBuffer; fields are addressed by their number in the schema."""

    def __init__(self, buffer: Buffer, position: int) -> None:
        """Check that the table and its vtable lie inside the file."""
        size = len(buffer.data)
        if not 0 <= position <= size - 4:
            raise buffer.fail(f"a table lies at byte {position} of {size}")
        (back,) = struct.unpack_from("<i", buffer.data, position)
        vtable = position - back
        if not 0 <= vtable <= size - 4:
            raise buffer.fail(f"a vtable lies at byte {vtable} of {size}")
        (length,) = struct.unpack_from("<H", buffer.data, vtable)
        if length < 4 or vtable + length > size:
            raise buffer.fail(f"the vtable at byte {vtable} is {length} bytes long")
        self._buffer = buffer
        self._table = Table(buffer.data, position)
        buffer.charge(length)

    @classmethod
    def root(cls, buffer: Buffer) -> "Record":
        """Return the root table."""
        if len(buffer.data) < 8:
            raise buffer.fail(f"it has {len(buffer.data)} bytes")
        return cls(buffer, struct.unpack_from("<I", buffer.data, 0)[0])

    def _at(self, slot: int, width: int) -> int | None:
        """Return where a field's inline bytes are, or None if it is absent."""
        offset = self._table.Offset(4 + 2 * slot)
        if offset == 0:
            return None
        position = int(self._table.Pos) + int(offset)
        if position + width > len(self._buffer.data):
            raise self._buffer.fail(f"field {slot} lies at byte {position}")
        return position

    def scalar(self, slot: int, kind: str, default: Any) -> Any:
        """Return a number or flag, or its default."""
        flags = _FLAGS[kind]
        position = self._at(slot, flags.bytewidth)
        return default if position is None else flags.py_type(self._table.Get(flags, position))

    def _follow(self, position: int) -> int:
        (offset,) = struct.unpack_from("<I", self._buffer.data, position)
        return position + int(offset)

    def record(self, slot: int) -> "Record | None":
        """Return a sub-table, or None."""
        position = self._at(slot, 4)
        return None if position is None else Record(self._buffer, self._follow(position))

    def _vector(self, slot: int, width: int) -> tuple[int, int] | None:
        """Return (start, length) of a vector that lies inside the file."""
        position = self._at(slot, 4)
        if position is None:
            return None
        start = self._follow(position)
        size = len(self._buffer.data)
        if start + 4 > size:
            raise self._buffer.fail(f"a vector lies at byte {start} of {size}")
        (length,) = struct.unpack_from("<I", self._buffer.data, start)
        if start + 4 + length * width > size:
            raise self._buffer.fail(f"the vector at byte {start} claims {length} elements")
        self._buffer.charge(length * width)
        return start + 4, length

    def array(self, slot: int, dtype: str) -> NDArray[Any] | None:
        """Return a vector of numbers as a view of the file, or None."""
        kind = np.dtype(dtype).newbyteorder("<")
        found = self._vector(slot, kind.itemsize)
        if found is None:
            return None
        start, length = found
        return np.frombuffer(self._buffer.data, kind, count=length, offset=start)

    def ints(self, slot: int, dtype: str = "int32") -> tuple[int, ...]:
        """Return a vector of integers, empty if absent."""
        found = self.array(slot, dtype)
        return () if found is None else tuple(int(number) for number in found)

    def records(self, slot: int) -> "list[Record]":
        """Return a vector of sub-tables, empty if absent."""
        found = self._vector(slot, 4)
        if found is None:
            return []
        start, length = found
        return [Record(self._buffer, self._follow(start + 4 * i)) for i in range(length)]

    def text(self, slot: int) -> str:
        """Return a string, empty if absent; bytes that are no UTF-8 are replaced."""
        found = self._vector(slot, 1)
        if found is None:
            return ""
        start, length = found
        return self._buffer.data[start : start + length].decode("utf-8", "replace")
