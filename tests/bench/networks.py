"""Whole int8 networks, codes in and codes out, beside LiteRT and ONNX Runtime.

The MLPerf Tiny models are looked for in the folder HWSIM_MODELS, else in ../shared/models. Reading,
lowering, packing and layout changes are outside the clock. "call" is `hwsim.run`, what a user
writes, with its checks and copies; "program" is the walk of the plan's machine code alone. LiteRT
gets its input and gives its output by copy, ONNX Runtime has both bound, all optimizations on. It
runs our export of the same numbers as uint8 codes, 1.0 to 9 times faster there than int8 ones.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import hwsim
from hwsim.batch import with_batch
from hwsim.formats.onnx_export import export_onnx
from hwsim.graph import Graph
from hwsim.kernels.plan import lower
from hwsim.profiles import find_profile
from hwsim.quant import INT8, UINT8, QuantParams

from .machine import ABSENT, ROOT, version_of
from .one_node import Bare
from .peers import onnx_call
from .table import QDQ, QOPERATOR, REFERENCE, XNNPACK, Figure, Row, seconds_in_words
from .timing import Call, Effort, Ratio, best_of, faster, interleave

Array = NDArray[Any]
CALL, PROGRAM, ALONE = "call", "program", ", one thread"
LARGE = 64


@dataclass(frozen=True)
class Network:
    """A network and what its batch 1 on one thread must reach."""

    name: str
    file: str
    goals: Mapping[str, float]


NETWORKS = (
    Network("ResNet8", "pretrainedResnet_quant.tflite", {REFERENCE: 20.0, QDQ: 1.0}),
    Network("DS-CNN (keywords)", "kws_ref_model.tflite", {QDQ: 1.0}),
    Network("MobileNetV1-0.25 (persons)", "vww_96_int8.tflite", {QDQ: 1.0}),
    Network("Autoencoder (anomalies)", "ad01_int8.tflite", {QDQ: 1.0}),
)
PACKAGES = {
    REFERENCE: "ai-edge-litert", XNNPACK: "ai-edge-litert", QDQ: "onnxruntime",
    QOPERATOR: "onnxruntime",
}  # fmt: skip


@dataclass(frozen=True)
class Contender:
    """One way to run one network: a call, and a function that reads what it left."""

    call: Call
    result: Any


def litert(model: bytes, x: Array, threads: int, *, reference: bool) -> Contender:
    """Return LiteRT's interpreter, its input resized to the batch."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    kinds = OpResolverType.BUILTIN_REF if reference else OpResolverType.AUTO
    interpreter = Interpreter(
        model_content=model, num_threads=threads, experimental_op_resolver_type=kinds
    )
    source = interpreter.get_input_details()[0]
    if tuple(source["shape"]) != x.shape:
        interpreter.resize_tensor_input(source["index"], x.shape, strict=False)
    interpreter.allocate_tensors()
    target = interpreter.get_output_details()[0]["index"]
    made: list[Array] = []

    def call() -> None:
        interpreter.set_tensor(source["index"], x)  # the arena may have reused its place
        interpreter.invoke()
        made[:] = [interpreter.get_tensor(target)]

    return Contender(call, lambda: made[0])


def unsigned(graph: Graph) -> Graph:
    """Return a graph whose activations are uint8 codes, 128 above the int8 ones."""
    values = {}
    for name, value in graph.values.items():
        quant = value.quant
        if value.data is None and quant is not None and value.dtype == INT8:
            zero = tuple(code + 128 for code in quant.zero_point)
            moved = QuantParams(quant.scale, zero, quant.axis)
            values[name] = replace(value, dtype=UINT8, quant=moved)
        else:
            values[name] = value
    return replace(graph, values=values)


def onnx_runtime(graph: Graph, x: Array, threads: int, style: str) -> Contender:
    """Return ONNX Runtime's session of our export, on uint8 codes."""
    value = graph.outputs[0]
    out = {value.name: np.empty(value.shape, np.uint8)}
    codes = (x.astype(np.int16) + 128).astype(np.uint8)
    model = export_onnx(unsigned(graph), style)
    call, bound = onnx_call(model, {graph.input_names[0]: codes}, out, threads)
    return Contender(call, lambda: bound[value.name].numpy().astype(np.int16) - 128)


def ours(graph: Graph, x: Array, threads: int) -> Contender:
    """Return the public call on the graph as it was read, of any batch."""
    name = graph.output_names[0]
    inputs = {graph.input_names[0]: x}
    made: list[Array] = []

    def call() -> None:
        made[:] = [hwsim.run(graph, inputs, threads=threads)[name]]

    return Contender(call, lambda: made[0])


def program(graph: Graph, x: Array) -> Contender | None:
    """Return the walk of a graph of the right batch, or None if a node has no machine code."""
    plan = lower(graph, find_profile(graph.profile))
    if any(call.native is None for call in plan.calls):
        return None
    bare = Bare(plan, {graph.input_names[0]: x})
    bare.walk()
    first = bare.result(graph.output_names[0])
    return Contender(bare.walk, lambda: first)


def contenders(graph: Graph, model: bytes, x: Array, threads: int) -> dict[str, Contender]:
    """Return every contender whose package is installed."""
    large = with_batch(graph, len(x))
    assert large is not None
    made: dict[str, Contender] = {CALL: ours(graph, x, threads)}
    walked = program(large, x) if threads == 1 else None
    if walked is not None:
        made[PROGRAM] = walked
    makers = {
        REFERENCE: lambda: litert(model, x, threads, reference=True),
        XNNPACK: lambda: litert(model, x, threads, reference=False),
        QDQ: lambda: onnx_runtime(large, x, threads, "qdq"),
        QOPERATOR: lambda: onnx_runtime(large, x, threads, "qoperator"),
    }
    for name, make in makers.items():
        if version_of(PACKAGES[name]) != ABSENT:
            made[name] = make()
    return made


def distance(a: Array, b: Array) -> int:
    """Return the largest difference of codes."""
    return int(np.abs(a.astype(np.int64) - b.astype(np.int64)).max())


def agreement(field: Mapping[str, Contender]) -> str:
    """Return how far everyone's codes are from ours after their last calls, in words.

    Raises:
        ValueError: If ours are not LiteRT's reference kernels'.
    """
    own = field[CALL].result()
    if PROGRAM in field and not np.array_equal(field[PROGRAM].result(), own):
        raise ValueError("the program's codes must equal the call's")
    apart = {name: distance(field[name].result(), own) for name in PACKAGES if name in field}
    if apart.get(REFERENCE, 0):
        raise ValueError("codes must equal those of LiteRT's reference kernels")
    others = ", ".join(f"{name} {most}" for name, most in apart.items())
    return f"on the timed input, {len(own)} random ones, largest difference of codes: {others}"


def measure(network: Network, path: Path, batch: int, threads: int, effort: Effort) -> list[Row]:
    """Return the rows of one network."""
    model, graph = path.read_bytes(), hwsim.load(path)
    own = graph.inputs[0].shape[0]
    name = graph.input_names[0]
    x = hwsim.random_inputs(graph, batch * own)[name]
    field = contenders(graph, model, x, threads)
    calls = {key: one.call for key, one in field.items()}
    if threads > 1:
        calls |= {key + ALONE: one.call for key, one in contenders(graph, model, x, 1).items()}
        calls.pop(PROGRAM + ALONE, None)
    seconds = interleave(calls, effort, threads)
    if threads > 1:
        for peer in PACKAGES:  # where other work holds a core, one thread may be faster
            forms = [key for key in (peer, peer + ALONE) if key in seconds]
            if forms:
                seconds[peer] = seconds[best_of(seconds, forms)]
    exact = agreement(field)
    medians = {key: Ratio.of(values).median for key, values in seconds.items()}
    goals = network.goals if batch == threads == 1 else {}
    rows = []
    for form in (CALL, PROGRAM):
        if form not in field:
            continue
        figures = {
            peer: Figure(ratio.median, ratio.least, ratio.most, goals.get(peer))
            for peer, ratio in faster(seconds, form).items()
            if peer in PACKAGES or peer == CALL + ALONE
        }
        result = seconds_in_words(medians[form])
        if threads > 1:
            result += f" ({figures[CALL + ALONE].value:.2f} x 1 thread)"
        work = f"{network.name}, batch {batch}, {form}"
        rows.append(Row("nets", work, threads, result, figures, exact, medians))
    return rows


def models_folder() -> Path:
    """Return where models are looked for."""
    given = os.environ.get("HWSIM_MODELS")
    return Path(given) if given else ROOT.parent / "shared" / "models"


def found() -> list[tuple[Network, Path]]:
    """Return the networks whose files are there."""
    folder = models_folder() / "mlperf_tiny"
    return [(net, folder / net.file) for net in NETWORKS if (folder / net.file).is_file()]


def rows(effort: Effort, threads: int, batches: Sequence[int]) -> list[Row]:
    """Return all rows."""
    return [
        row
        for batch in batches
        for network, path in found()
        for row in measure(network, path, batch, threads, effort)
    ]
