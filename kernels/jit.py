"""The decorators that compile kernels, at their first use and not before.

A kernel for Numba's own callers (`jit`) is kept on disk by Numba; one that a program calls by its
address (`native`) is kept as object code, which a later process links without importing Numba.
"""

import contextlib
import ctypes
import hashlib
import sys
import threading
import warnings
from collections.abc import Callable, Iterable
from functools import cached_property
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from .cache import store
from .machine import Linked

F = TypeVar("F", bound=Callable[..., object])

# Numba compiles one function at a time, and reads the folder of its cache from a global.
_LOCK = threading.RLock()
store()  # the sources are hashed as they are when their modules are read, not later


class Lazy:
    """Something of Numba's that is made when it is called, or met by Numba in a kernel."""

    def __init__(self, make: Callable[[], Any]) -> None:
        """Keep how it is made."""
        self._make = make

    @cached_property
    def made(self) -> Any:
        """The thing itself."""
        with _LOCK:
            return self._make()

    @property
    def _numba_type_(self) -> Any:
        """What Numba's typing asks of values that it does not know."""
        from numba.core.registry import cpu_target

        made, context = self.made, cast(Any, cpu_target).typing_context
        context.refresh()
        return context.resolve_value_type(made)

    def __call__(self, *arguments: Any) -> Any:
        """Call it."""
        return self.made(*arguments)


def jit(function: F) -> F:
    """Compile a kernel: no GIL, no fast math, cached on disk where a folder can be written."""

    def make() -> Any:
        import numba

        settings, kept = cast(Any, numba.config), store()
        compiled = numba.njit(nogil=True)
        if not kept.writable:
            made = compiled(function)
        else:
            before = settings.CACHE_DIR
            settings.CACHE_DIR = str(kept.folder)
            try:
                made = numba.njit(nogil=True, cache=True)(function)
            except (OSError, RuntimeError):  # the folder is full, or was removed
                made = compiled(function)
            finally:
                settings.CACHE_DIR = before
        if hasattr(made, "_cache"):  # a plain function where Numba is switched off
            made._cache = _Guarded(made._cache, function.__name__)
        return made

    return cast(F, Lazy(make))


def intrinsic(function: Callable[..., Any]) -> Any:
    """Return a function that writes LLVM IR, as compiled kernels call it; see Numba's `intrinsic`.

    Arguments that can be literals are.
    """

    def make() -> Any:
        from numba.extending import intrinsic as of_numba

        return of_numba(prefer_literal=True)(function)

    return Lazy(make)


class _Guarded:
    """Numba's cache of one function, where neither a broken entry nor a full disk is an error."""

    def __init__(self, cache: Any, name: str) -> None:
        self._cache, self._name = cache, name

    def load_overload(self, signature: Any, context: Any) -> Any:
        try:
            found = self._cache.load_overload(signature, context)
        except Exception:  # whatever a broken pickle raises
            with contextlib.suppress(OSError):
                self._cache.flush()
            found = None
        if found is None:
            announce(f"compiling kernel {self._name}")
        return found

    def save_overload(self, signature: Any, made: Any) -> None:
        with contextlib.suppress(OSError):
            self._cache.save_overload(signature, made)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cache, name)


class NativeKernel:
    """A kernel as a C function of one int64."""

    def __init__(self, function: Callable[[int], None]) -> None:
        """Compile nothing yet."""
        self._function = function
        self._address = 0
        self._code: Any = None  # what keeps the machine code in memory
        cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
        self._constants = {name: cell.cell_contents for name, cell in cells}
        for name, value in self._constants.items():
            if not isinstance(value, int | str):
                raise TypeError(f"kernel constant {name!r} must be an int or a string")

    @property
    def text(self) -> str:
        """What users read of it."""
        constants = (f"{name}={value}" for name, value in self._constants.items())
        return " ".join((self._function.__name__, *constants))

    @property
    def address(self) -> int:
        """Where its machine code is, loaded or compiled now."""
        if not self._address:
            with _LOCK:
                self._address = self._address or self._loaded() or self._compiled()
        return self._address

    def __call__(self, *words: int | NDArray[Any]) -> None:
        """Run it now, without the GIL, on words: numbers, and arrays whose addresses it gets."""
        numbers = [word if isinstance(word, int) else word.ctypes.data for word in words]
        packed = np.array(numbers, np.int64)  # held while the kernel reads it
        self.on(packed.ctypes.data)

    @cached_property
    def on(self) -> Callable[[int], None]:
        """The function that runs it, without the GIL, on the words at an address."""
        return ctypes.CFUNCTYPE(None, ctypes.c_int64)(self.address)

    @property
    def is_ready(self) -> bool:
        """Whether it is loaded; it is now if an earlier process compiled it."""
        with _LOCK:
            self._address = self._address or self._loaded()
        return bool(self._address)

    @property
    def _entry(self) -> str:
        """Its name on disk: sources are in the folder's, so a place in them tells kernels apart."""
        code = self._function.__code__
        place = f"{self._function.__module__} {code.co_qualname} {code.co_firstlineno}"
        constants = "".join(f" {n}={v!r}" for n, v in self._constants.items())
        return hashlib.sha256((place + constants).encode()).hexdigest()[:24]

    def _loaded(self) -> int:
        entry = store().read(self._entry)
        if entry is None:
            return 0
        symbol, _, image = entry.partition(b"\0")
        try:
            self._code = Linked(image, symbol.decode())
        except RuntimeError:  # this process lacks what another one had
            return 0
        return int(self._code.address)

    def _compiled(self) -> int:
        import numba

        from .native.target import check_target

        check_target()
        made = cast(Any, numba).cfunc("void(int64)")(self._function)
        symbol = made.native_name
        try:
            image = made._library.serialize_using_object_code()[2][0]
            self._code = linked = Linked(image, symbol)
        except (AttributeError, TypeError, IndexError, RuntimeError) as error:
            # The first three are Numba's own affair, which may change.
            warnings.warn(
                f"kernel {self.text} must neither raise nor allocate to be kept: {error}",
                RuntimeWarning,
                stacklevel=2,
            )
            self._code = made
            return int(made.address)
        store().write(self._entry, symbol.encode() + b"\0" + image)
        return linked.address


def native(kernel: Callable[[int], None]) -> NativeKernel:
    """Compile a kernel as a C function of one int64; `.address` is where it is.

    A kernel may close over ints and strings alone: they become constants of its machine code and
    part of its key on disk. What it calls must live in modules, and none of it may raise.
    """
    return NativeKernel(kernel)


def make_ready(kernels: Iterable[NativeKernel]) -> None:
    """Load or compile kernels, and say which are compiled where somebody watches."""
    missing = [kernel for kernel in dict.fromkeys(kernels) if not kernel.is_ready]
    for index, kernel in enumerate(missing, 1):
        announce(f"compiling kernel {kernel.text} ({index} of {len(missing)})")
        _ = kernel.address
    if missing and not store().writable:
        where = store().folder or "the user's cache folder"
        announce(f"{where} must be writable to keep kernels; the next start compiles them again")


def announce(text: str) -> None:
    """Tell a user who waits at a terminal why."""
    if sys.stderr is not None and sys.stderr.isatty():
        print(f"hwsim: {text}", file=sys.stderr)
