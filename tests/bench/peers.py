"""ONNX Runtime and torch at their best: constant weights packed, outputs bound, one pool each."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .timing import Call

Array = NDArray[Any]


def onnx_call(
    model: bytes, inputs: Mapping[str, Array], outputs: Mapping[str, Array], threads: int
) -> tuple[Call, dict[str, Any]]:
    """Return a call of a model on bound memory, and the outputs (`.numpy()` reads them)."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    binding = session.io_binding()
    made = {}
    for name, array in inputs.items():
        binding.bind_ortvalue_input(name, onnxruntime.OrtValue.ortvalue_from_numpy(array))
    for name, array in outputs.items():
        made[name] = onnxruntime.OrtValue.ortvalue_from_numpy(array)
        binding.bind_ortvalue_output(name, made[name])
    return lambda: session.run_with_iobinding(binding), made


def onnx_model(
    nodes: Sequence[Any],
    constants: Mapping[str, Array],
    inputs: Mapping[str, Array],
    outputs: Mapping[str, Array],
) -> bytes:
    """Return a serialized model of nodes."""
    from onnx import helper, numpy_helper

    def info(name: str, array: Array) -> Any:
        return helper.make_tensor_value_info(
            name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape
        )

    graph = helper.make_graph(
        list(nodes),
        "bench",
        [info(name, array) for name, array in inputs.items()],
        [info(name, array) for name, array in outputs.items()],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets)
    model.ir_version = 9
    made: bytes = model.SerializeToString()
    return made


def quantized_linears(
    x: Array, zero: int, matrices: Sequence[Array], engine: str
) -> tuple[Call, Any]:
    """Return a call of torch's quantized linear layers on u8 codes, and a list of its results."""
    import torch

    torch.backends.quantized.engine = engine
    packed = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # torch will drop such tensors one day
        for w in matrices:
            n = w.shape[0]
            codes = torch._make_per_channel_quantized_tensor(
                torch.from_numpy(w.copy()), torch.full((n,), 0.01, dtype=torch.float64),
                torch.zeros(n, dtype=torch.long), 0,
            )  # fmt: skip
            packed.append(torch.ops.quantized.linear_prepack(codes, torch.zeros(n)))
        source = torch._make_per_tensor_quantized_tensor(torch.from_numpy(x), 0.05, zero)
    results: list[Any] = []
    linear = torch.ops.quantized.linear.default

    def call() -> None:
        results[:] = [linear(source, one, 0.1, 128) for one in packed]

    return call, results


def torch_convolutions(
    x: Array, w: Array, b: Array, stride: int, padding: int, groups: int = 1
) -> dict[str, Call]:
    """Return float32 convolutions of NHWC codes by (out, kh, kw, in) weights, channels last.

    One takes plain weights, one oneDNN's packed ones.
    """
    import torch

    last = torch.channels_last
    source = torch.from_numpy(x.astype(np.float32).transpose(0, 3, 1, 2)).contiguous(
        memory_format=last
    )
    matrix = torch.from_numpy(w.astype(np.float32).transpose(0, 3, 1, 2))
    plain, bias = matrix.contiguous(memory_format=last), torch.from_numpy(b.astype(np.float32))
    pad, step, one = [padding] * 2, [stride] * 2, [1, 1]
    packed = torch._C._nn.mkldnn_reorder_conv2d_weight(
        matrix.contiguous().to_mkldnn(), pad, step, one, groups, list(source.shape)
    )
    pointwise = torch.ops.mkldnn._convolution_pointwise.default

    @torch.inference_mode()
    def with_plain() -> Any:
        return torch.nn.functional.conv2d(source, plain, bias, stride, padding, 1, groups)

    @torch.inference_mode()
    def with_packed() -> Any:
        return pointwise(source, packed, bias, pad, step, one, groups, "none", [], "")

    return {"plain": with_plain, "packed": with_packed}
