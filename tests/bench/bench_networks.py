"""Whole int8 networks at batch 1 on one thread, beside LiteRT and ONNX Runtime.

    python -m tests.bench.bench_networks [--rounds 15] [--out reports/bench]

The MLPerf Tiny models are looked for in the folder HWSIM_MODELS, else in ../shared/models. What is
timed is one inference from codes to codes, input and output copies included; files are read, plans
lowered, weights packed and images put in each runtime's layout before the clock starts.
"""

import argparse
import importlib.metadata
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

import hwsim
from hwsim.formats.onnx_export import export_onnx
from hwsim.graph import Graph

ROOT = Path(__file__).resolve().parents[2]
NETWORKS = {
    "ResNet8": "pretrainedResnet_quant.tflite",
    "DS-CNN (keywords)": "kws_ref_model.tflite",
    "MobileNetV1-0.25 (persons)": "vww_96_int8.tflite",
    "Autoencoder (anomalies)": "ad01_int8.tflite",
}
HWSIM, HWSIM_RUN = "hwsim", "hwsim.run"
REFERENCE, XNNPACK = "LiteRT reference", "LiteRT XNNPACK"
QDQ, QOPERATOR = "ONNX Runtime QDQ", "ONNX Runtime QOperator"
CONTENDERS = {  # the package that each needs
    HWSIM: "numba",
    HWSIM_RUN: "numba",
    REFERENCE: "ai-edge-litert",
    XNNPACK: "ai-edge-litert",
    QDQ: "onnxruntime",
    QOPERATOR: "onnxruntime",
}
PACKAGES = ("numpy", "numba", "llvmlite", "ai-edge-litert", "onnxruntime", "onnx")
ABSENT = "not installed"
WARM_UP_S = 0.05
SAMPLE_S = 0.004
NOTES = (
    "Batch 1, one thread, codes in and codes out; copies of input and output are inside the clock, "
    "reading, lowering, packing and layout changes are outside.",
    "The clock is CPU time of the calling thread. Contenders take turns round by round, each round "
    "starting with the next one; a ratio is LiteRT reference over contender in the same round.",
    "The cores were shared with other work: these are not figures of a quiet machine.",
    "hwsim and LiteRT reference agree byte for byte on the timed input; the others have another "
    "arithmetic (float32 requantization), so their distance from it is shown, not asserted; a "
    "softmax can turn one code of a logit into dozens of its own.",
    "hwsim is a lowered plan's run; hwsim.run is the public call, with its input checks, on a "
    "graph that it has run before.",
    "ONNX Runtime takes NCHW input through I/O binding, all graph optimizations on.",
)


@dataclass(frozen=True)
class Contender:
    """One way to run one network.

    Args:
        call: One inference.
        result: The codes that the last call left.
    """

    call: Callable[[], object]
    result: Callable[[], np.ndarray]


def available(name: str) -> bool:
    """Tell whether a contender's package is installed."""
    try:
        importlib.metadata.version(CONTENDERS[name])
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def ours(graph: Graph, x: np.ndarray, whole_call: bool) -> Contender:
    from hwsim.kernels.plan import lower
    from hwsim.profiles import find_profile

    plan = lower(graph, find_profile(graph.profile))
    inputs = {graph.input_names[0]: x}
    made: dict[str, np.ndarray] = {}

    def call() -> None:
        made.update(hwsim.run(graph, inputs) if whole_call else plan.run(inputs))

    return Contender(call, lambda: made[graph.output_names[0]])


def litert(model: bytes, x: np.ndarray, reference: bool) -> Contender:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    kinds = OpResolverType.BUILTIN_REF if reference else OpResolverType.AUTO
    interpreter = Interpreter(
        model_content=model, num_threads=1, experimental_op_resolver_type=kinds
    )
    interpreter.allocate_tensors()
    source = interpreter.get_input_details()[0]["index"]
    target = interpreter.get_output_details()[0]["index"]
    made: list[np.ndarray] = []

    def call() -> None:
        interpreter.set_tensor(source, x)  # the arena may have reused its place
        interpreter.invoke()
        made[:] = [interpreter.get_tensor(target)]

    return Contender(call, lambda: made[0])


def onnx_runtime(graph: Graph, x: np.ndarray, style: str) -> Contender:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 3
    # Without it, x86-64 computes convolutions of int8 QDQ models in float32.
    options.add_session_config_entry("session.qdqisint8allowed", "1")
    session = onnxruntime.InferenceSession(
        export_onnx(graph, style), options, providers=["CPUExecutionProvider"]
    )
    value = graph.outputs[0]
    out = np.empty(value.shape, value.dtype.storage)
    binding = session.io_binding()
    source = onnxruntime.OrtValue.ortvalue_from_numpy(x)
    target = onnxruntime.OrtValue.ortvalue_from_numpy(out)
    binding.bind_ortvalue_input(session.get_inputs()[0].name, source)
    binding.bind_ortvalue_output(session.get_outputs()[0].name, target)
    return Contender(lambda: session.run_with_iobinding(binding), target.numpy)


def contenders(graph: Graph, model: bytes, x: np.ndarray) -> dict[str, Contender]:
    """Return every contender whose package is installed."""
    makers: dict[str, Callable[[], Contender]] = {
        HWSIM: lambda: ours(graph, x, whole_call=False),
        HWSIM_RUN: lambda: ours(graph, x, whole_call=True),
        REFERENCE: lambda: litert(model, x, reference=True),
        XNNPACK: lambda: litert(model, x, reference=False),
        QDQ: lambda: onnx_runtime(graph, x, "qdq"),
        QOPERATOR: lambda: onnx_runtime(graph, x, "qoperator"),
    }
    return {name: make() for name, make in makers.items() if available(name)}


def warm_up(contender: Contender, warm_up_s: float) -> float:
    """Run until warm; return the seconds of one call.

    Raises:
        RuntimeError: If other threads did a good part of the work, which the clock does not see.
    """
    contender.call()
    calls, start, all_threads = 0, time.thread_time(), time.process_time()
    while calls < 3 or time.thread_time() - start < warm_up_s:
        contender.call()
        calls += 1
    seen, spent = time.thread_time() - start, time.process_time() - all_threads
    if spent > 1.1 * seen + 0.01:
        raise RuntimeError(f"{spent - seen:.3f} s of {spent:.3f} s ran on other threads")
    return seen / calls


def measure(
    field: Mapping[str, Contender], rounds: int, sample_s: float, warm_up_s: float
) -> tuple[dict[str, list[float]], dict[str, int]]:
    """Return seconds per call of every round, and how many calls a sample holds."""
    names = list(field)
    calls = {
        name: int(np.ceil(1.25 * sample_s / warm_up(field[name], warm_up_s))) for name in names
    }
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            call, count = field[name].call, calls[name]
            start = time.thread_time()
            for _ in range(count):
                call()
            spent = time.thread_time() - start
            seconds[name].append(spent / count)
            if spent < sample_s:  # faster than in the warm-up: longer samples from now on
                calls[name] = int(np.ceil(1.25 * count * sample_s / spent))
    return seconds, calls


def distance(a: np.ndarray, b: np.ndarray) -> int:
    """Return the largest difference of codes."""
    return int(np.abs(a.astype(np.int64) - b.astype(np.int64)).max())


def agreement(graph: Graph, model: bytes, count: int) -> dict[str, dict[str, Any]]:
    """Return how far each peer's codes are from ours on random inputs."""
    expected, found = [], {}
    for seed in range(count):
        x = hwsim.random_inputs(graph, graph.inputs[0].shape[0], seed)[graph.input_names[0]]
        for name, contender in contenders(graph, model, x).items():
            contender.call()
            found.setdefault(name, []).append(np.array(contender.result()))
        expected.append(found[HWSIM][-1])
    return {
        name: {
            "inputs": count,
            "largest_code_difference": max(map(distance, made, expected)),
            "same_argmax": sum(int(a.argmax() == b.argmax()) for a, b in zip(made, expected)),
        }
        for name, made in found.items()
        if name not in (HWSIM, HWSIM_RUN)
    }


def bench(
    path: Path,
    rounds: int = 15,
    *,
    sample_s: float = SAMPLE_S,
    warm_up_s: float = WARM_UP_S,
    inputs: int = 8,
) -> dict[str, Any]:
    """Return the figures of one network.

    Args:
        path: An int8 `.tflite` file with one input and one output.
        rounds: Samples of each contender.
        sample_s: Least seconds of a sample.
        warm_up_s: Seconds of running before the first sample.
        inputs: Random inputs for the comparison of codes.

    Raises:
        ValueError: If our codes differ from LiteRT's reference kernels'.
    """
    model, graph = path.read_bytes(), hwsim.load(path)
    x = hwsim.random_inputs(graph, graph.inputs[0].shape[0])[graph.input_names[0]]
    field = contenders(graph, model, x)
    seconds, calls = measure(field, rounds, sample_s, warm_up_s)
    if REFERENCE in field:
        reference = field[REFERENCE].result()
        for name in (HWSIM, HWSIM_RUN):
            made = field[name].result()
            if made.dtype != reference.dtype or made.tobytes() != reference.tobytes():
                raise ValueError(f"{path.name}: {name} must equal LiteRT's reference kernels")
    others = agreement(graph, model, inputs)
    rows: dict[str, Any] = {}
    for name in CONTENDERS:
        if name not in field:
            rows[name] = {"status": ABSENT}
            continue
        times = seconds[name]
        row: dict[str, Any] = {
            "status": "timed",
            "median_ms": statistics.median(times) * 1e3,
            "calls_per_sample": calls[name],
            "rounds_ms": [value * 1e3 for value in times],
        }
        if REFERENCE in field:
            ratios = [r / t for r, t in zip(seconds[REFERENCE], times, strict=True)]
            row["times_faster_than_litert_reference"] = {
                "median": statistics.median(ratios),
                "least": min(ratios),
                "most": max(ratios),
            }
            row["equals_litert_reference_on_timed_input"] = bool(
                np.array_equal(field[name].result(), reference)
            )
        if name in others:
            row["against_hwsim"] = others[name]
        rows[name] = row
    return {"file": path.name, "rounds": rounds, "contenders": rows}


def cpu_model() -> str:
    """Return the processor's name as the system tells it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def version_of(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ABSENT


def load_average() -> list[float] | None:
    return [round(value, 2) for value in os.getloadavg()] if hasattr(os, "getloadavg") else None


def circumstances() -> dict[str, Any]:
    """Return what the figures depend on; no host name, no path."""
    return {
        "date_utc": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": cpu_model(),
        "logical_cpus": os.cpu_count(),
        "load_average_before": load_average(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {name: version_of(name) for name in PACKAGES},
        "threads": 1,
        "batch": 1,
        "clock": "time.thread_time",
        "least_sample_s": SAMPLE_S,
        "notes": list(NOTES),
    }


def cell(row: Mapping[str, Any]) -> str:
    if row["status"] != "timed":
        return str(row["status"])
    ms = f"{row['median_ms']:.3g} ms"
    ratio = row.get("times_faster_than_litert_reference")
    return f"{ratio['median']:.3g}× ({ms})" if ratio else ms


def table(results: Mapping[str, Any]) -> str:
    """Return the figures as a Markdown page."""
    networks = results["networks"]
    versions = ", ".join(f"{name} {made}" for name, made in results["versions"].items())
    rows = [["network", *CONTENDERS]]
    rows.append(["---"] + ["---:"] * len(CONTENDERS))
    for name, network in networks.items():
        rows.append([name, *(cell(network["contenders"][key]) for key in CONTENDERS)])
    apart = [["network", *(key for key in CONTENDERS if key not in (HWSIM, HWSIM_RUN))]]
    apart.append(["---"] + ["---:"] * (len(apart[0]) - 1))
    for name, network in networks.items():
        line = [name]
        for key in apart[0][1:]:
            row = network["contenders"][key]
            other = row.get("against_hwsim")
            line.append(
                f"{other['largest_code_difference']} ({other['same_argmax']}/{other['inputs']})"
                if other
                else str(row["status"])
            )
        apart.append(line)
    lines = [
        "# Speed on whole networks",
        "",
        "Written by `python -m tests.bench.bench_networks`. Times faster than LiteRT's reference "
        "kernels: median of the ratios of single rounds; in brackets the median of one inference.",
        "",
        *(f"| {' | '.join(row)} |" for row in rows),
        "",
        "Largest difference from our output codes on random inputs; in brackets how many inputs "
        "kept the largest output.",
        "",
        *(f"| {' | '.join(row)} |" for row in apart),
        "",
        f"{results['rounds']} rounds. {results['cpu']}, {results['logical_cpus']} logical CPUs, "
        f"load average {results['load_average_before']} before and "
        f"{results['load_average_after']} after; {results['date_utc']}; "
        f"Python {results['python']}, {versions}.",
        "",
        *(f"- {note}" for note in results["notes"]),
    ]
    return "\n".join(lines) + "\n"


def write(results: Mapping[str, Any], out: Path) -> None:
    """Write `networks.json` and `networks.md`."""
    out.mkdir(parents=True, exist_ok=True)
    text = json.dumps(results, indent=1, allow_nan=False, ensure_ascii=False)
    (out / "networks.json").write_text(text + "\n", encoding="utf-8")
    (out / "networks.md").write_text(table(results), encoding="utf-8")


def models_folder() -> Path:
    given = os.environ.get("HWSIM_MODELS")
    return Path(given) if given else ROOT.parent / "shared" / "models"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure all networks that are there; return the exit status."""
    parser = argparse.ArgumentParser(description="Measure int8 networks beside other runtimes.")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--out", type=Path, default=Path("reports/bench"))
    options = parser.parse_args(arguments)
    if options.rounds < 1:
        parser.error(f"--rounds must be 1 or more, not {options.rounds}")
    folder = models_folder() / "mlperf_tiny"
    found = {name: folder / file for name, file in NETWORKS.items() if (folder / file).is_file()}
    if not found:
        print(
            "The MLPerf Tiny models must be in the folder that HWSIM_MODELS names (or "
            f"../shared/models), as mlperf_tiny/{next(iter(NETWORKS.values()))} and its kin.",
            file=sys.stderr,
        )
        return 2
    # ONNX Runtime and LiteRT have switches of their own; this is for whatever they link to.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    results = circumstances() | {"rounds": options.rounds, "networks": {}}
    for name, path in found.items():
        print(f"{name} ...", flush=True)
        results["networks"][name] = bench(path, options.rounds)
    results["load_average_after"] = load_average()
    write(results, options.out)
    print(table(results), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
