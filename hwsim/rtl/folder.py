"""A trace as files: one folder per layer, testbenches, and the index that explains them."""

from collections.abc import Callable, Iterable, Iterator

from hwsim import __version__
from hwsim.graph import Graph
from hwsim.profile import NumericProfile
from hwsim.rtl.index import CONVENTIONS, layer_entry
from hwsim.rtl.layer import Layer
from hwsim.rtl.testbench import (
    run_all,
    stage_module,
    stage_testbench,
    stream_module,
    stream_testbench,
)
from hwsim.rtl.words import hex_lines

SCHEMA_VERSION = 1
TRACE_FILE = "index.json"


def trace_files(
    graph: Graph,
    profile: NumericProfile,
    layers: Iterable[Layer],
    dump: Callable[[object], str],
) -> Iterator[tuple[str, bytes | str]]:
    """Yield relative path and content of every file, the index last.

    Args:
        graph: What was run.
        profile: Its arithmetic.
        layers: Its layers, made as they are asked for.
        dump: Writes plain data as strict JSON.
    """
    entries, modules = [], []
    for layer in layers:
        for port in layer.ports.values():
            yield f"{layer.folder}/{port.name}.hex", hex_lines(port.words, port.dtype.bits)
        for stage in layer.stages:
            if stage.requant.is_fixed:
                module = stage_module(layer, stage)
                modules.append(module)
                yield f"{layer.folder}/{module}.sv", stage_testbench(layer, stage)
        yield f"{layer.folder}/{stream_module(layer)}.sv", stream_testbench(layer)
        entries.append(layer_entry(layer))
    yield "run_all.sv", run_all(modules)
    origin = graph.origin
    yield (
        TRACE_FILE,
        dump(
            {
                "schema_version": SCHEMA_VERSION,
                "kind": "rtl_trace",
                "hwsim_version": __version__,
                "model": {"name": graph.name, "sha256": origin.sha256 if origin else ""},
                "profile": {"name": profile.name, "reproduces": profile.reproduces},
                "inputs": list(graph.input_names),
                "outputs": list(graph.output_names),
                "conventions": CONVENTIONS,
                "layers": entries,
            }
        ),
    )
