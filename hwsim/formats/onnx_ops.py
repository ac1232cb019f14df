"""The table of ONNX operators that hwsim reads."""

from collections.abc import Mapping
from types import MappingProxyType

from hwsim.formats.onnx_arithmetic import (
    read_binary,
    read_clip,
    read_gelu,
    read_gemm,
    read_identity,
    read_layer_norm,
    read_leaky_relu,
    read_matmul,
    read_reciprocal,
    read_reduce_mean,
    read_rms_norm,
    read_softmax,
    read_unary,
    read_where,
)
from hwsim.formats.onnx_builder import Reader
from hwsim.formats.onnx_images import (
    read_batch_norm,
    read_conv,
    read_global_average_pool,
    read_pool,
)
from hwsim.formats.onnx_moves import (
    read_concat,
    read_expand,
    read_flatten,
    read_gather,
    read_pad,
    read_reshape,
    read_slice,
    read_split,
    read_squeeze,
    read_transpose,
    read_unsqueeze,
)
from hwsim.ops import Op

READERS: Mapping[str, Reader] = MappingProxyType(
    {
        "Add": read_binary(Op.ADD),
        "AveragePool": read_pool(Op.AVERAGE_POOL_2D),
        "BatchNormalization": read_batch_norm,
        "Cast": read_identity,
        "Clip": read_clip,
        "Concat": read_concat,
        "Conv": read_conv,
        "Div": read_binary(Op.DIV),
        "Dropout": read_identity,
        "Erf": read_unary(Op.ERF),
        "Expand": read_expand,
        "Flatten": read_flatten,
        "Gather": read_gather,
        "Gelu": read_gelu,
        "Gemm": read_gemm,
        "GlobalAveragePool": read_global_average_pool,
        "HardSwish": read_unary(Op.HARD_SWISH),
        "Identity": read_identity,
        "LayerNormalization": read_layer_norm,
        "LeakyRelu": read_leaky_relu,
        "MatMul": read_matmul,
        "MaxPool": read_pool(Op.MAX_POOL_2D),
        "Mul": read_binary(Op.MUL),
        "Pad": read_pad,
        "Pow": read_binary(Op.POW),
        "RMSNormalization": read_rms_norm,
        "Reciprocal": read_reciprocal,
        "ReduceMean": read_reduce_mean,
        "Relu": read_unary(Op.RELU),
        "Reshape": read_reshape,
        "Sigmoid": read_unary(Op.LOGISTIC),
        "Slice": read_slice,
        "Softmax": read_softmax,
        "Split": read_split,
        "Sqrt": read_unary(Op.SQRT),
        "Squeeze": read_squeeze,
        "Sub": read_binary(Op.SUB),
        "Tanh": read_unary(Op.TANH),
        "Transpose": read_transpose,
        "Unsqueeze": read_unsqueeze,
        "Where": read_where,
    }
)
