"""Object code in this process, through LLVM alone: Numba's import takes longer than a network."""

import ctypes
import os
from functools import cache
from itertools import count
from typing import Any

import llvmlite.binding as llvm

_NUMBERS = count()
_ABORT = ctypes.CFUNCTYPE(None)(os.abort)
# What Numba's code calls when it raises or frees memory; native kernels do neither.
_NEVER_CALLED = (
    "numba_gil_ensure", "numba_gil_release", "numba_do_raise", "numba_unpickle",
    "numba_runtime_build_excinfo_struct", "NRT_MemInfo_call_dtor", "NRT_Free",
)  # fmt: skip


class Linked:
    """Object code at an address, for as long as this object lives."""

    def __init__(self, image: bytes, symbol: str) -> None:
        """Link an object file.

        Raises:
            RuntimeError: If it is none, lacks the symbol, or needs what this process has not.
        """
        builder = llvm.JITLibraryBuilder().add_object_img(image).add_current_process()
        address = ctypes.cast(_ABORT, ctypes.c_void_p).value
        for name in _NEVER_CALLED:
            builder.import_symbol(name, address)
        linker = _linker()
        self._held: Any = builder.export_symbol(symbol).link(linker, f"hwsim{next(_NUMBERS)}")
        self.address: int = self._held[symbol]


@cache
def _linker() -> Any:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm.create_lljit_compiler(suppress_errors=True)
