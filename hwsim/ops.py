"""The operator table: what each operator is called, takes and yields.

Layouts: activations NHWC, CONV weights (O, kh, kw, I / groups), DEPTHWISE weights (1, kh, kw, O)
with O = I * multiplier, TRANSPOSE_CONV weights (O, kh, kw, I), FULLY_CONNECTED weights (O, I). A
new operator is one row here, one kernel, one oracle and one vector set.
TRANSPOSE_CONV may read the output's shape, which must be the stated one, as a fourth operand.

Recurrent operators keep nothing between calls: states are operands and results.
* LSTM: x (B, T, I); input weights (H, I) and recurrent weights (H, H) of the input, forget, cell
  and output gate; hidden and cell state (B, H); biases (H,) of the four gates. Makes every hidden
  state (B, T, H), then the last hidden and cell states.
* SVDF: x (B, I); feature weights (F, I); time weights (F, M); state (B, F, M), the newest entry
  last; bias (F / rank,). Makes (B, F / rank) and the next state.
"""

from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import Any

from hwsim.attributes import (
    ClipAttrs,
    ConcatAttrs,
    ConvAttrs,
    FakeQuantAttrs,
    FakeTruncAttrs,
    FullyConnectedAttrs,
    FusedAttrs,
    GatherAttrs,
    GeluAttrs,
    LeakyReluAttrs,
    LstmAttrs,
    MatMulAttrs,
    MeanAttrs,
    NoAttrs,
    NormAttrs,
    PadAttrs,
    PoolAttrs,
    ReshapeAttrs,
    SliceAttrs,
    SoftmaxAttrs,
    SplitAttrs,
    SvdfAttrs,
    TransposeAttrs,
    TransposeConvAttrs,
)
from hwsim.shapes import (
    Infer,
    binary_shape,
    concat_shape,
    conv_shape,
    depthwise_shape,
    dynamic_shape,
    fully_connected_shape,
    gather_shape,
    lstm_shape,
    matmul_shape,
    mean_shape,
    norm_shape,
    pad_shape,
    pool_shape,
    reshape_shape,
    same_shape,
    slice_shape,
    softmax_shape,
    split_shape,
    svdf_shape,
    transpose_conv_shape,
    transpose_shape,
)
from hwsim.workload import Work


class Op(Enum):
    """Operators by their canonical names."""

    CONV_2D = "conv_2d"
    DEPTHWISE_CONV_2D = "depthwise_conv_2d"
    TRANSPOSE_CONV = "transpose_conv"
    FULLY_CONNECTED = "fully_connected"
    MATMUL = "matmul"
    LSTM = "lstm"
    SVDF = "svdf"
    ADD = "add"
    SUB = "sub"
    MUL = "mul"
    DIV = "div"
    MAXIMUM = "maximum"
    MINIMUM = "minimum"
    SQUARED_DIFFERENCE = "squared_difference"
    AVERAGE_POOL_2D = "average_pool_2d"
    MAX_POOL_2D = "max_pool_2d"
    MEAN = "mean"
    SOFTMAX = "softmax"
    LAYER_NORM = "layer_norm"
    RMS_NORM = "rms_norm"
    BATCH_NORM = "batch_norm"
    RELU = "relu"
    RELU6 = "relu6"
    RELU_N1_TO_1 = "relu_n1_to_1"
    CLIP = "clip"
    LEAKY_RELU = "leaky_relu"
    LOGISTIC = "logistic"
    TANH = "tanh"
    HARD_SWISH = "hard_swish"
    GELU = "gelu"
    SILU = "silu"
    EXP = "exp"
    RSQRT = "rsqrt"
    ERF = "erf"
    SQRT = "sqrt"
    POW = "pow"
    RESHAPE = "reshape"
    TRANSPOSE = "transpose"
    PAD = "pad"
    CONCATENATION = "concatenation"
    STRIDED_SLICE = "strided_slice"
    SPLIT = "split"
    GATHER = "gather"
    QUANTIZE = "quantize"
    DEQUANTIZE = "dequantize"
    DYNAMIC_QUANTIZE = "dynamic_quantize"
    FAKE_QUANT = "fake_quant"
    FAKE_TRUNC = "fake_trunc"


@dataclass(frozen=True, slots=True)
class OpSpec:
    """One row of the operator table.

    Args:
        op: The operator.
        attrs: Its attribute type.
        inputs: Fewest and most inputs.
        infer: Output shapes from input shapes; raises GraphError on a broken rule.
        work: What a platform has to do for it.
        float_only: Whether it exists in float graphs alone.
    """

    op: Op
    attrs: type[Any]
    inputs: tuple[int, int]
    infer: Infer
    work: Work
    float_only: bool = False


_MANY = 4096

_ROWS = (
    OpSpec(Op.CONV_2D, ConvAttrs, (2, 3), conv_shape, Work.CONV),
    OpSpec(Op.DEPTHWISE_CONV_2D, ConvAttrs, (2, 3), depthwise_shape, Work.DEPTHWISE),
    OpSpec(Op.TRANSPOSE_CONV, TransposeConvAttrs, (2, 4), transpose_conv_shape, Work.CONV),
    OpSpec(
        Op.FULLY_CONNECTED, FullyConnectedAttrs, (2, 3), fully_connected_shape, Work.FULLY_CONNECTED
    ),
    OpSpec(Op.MATMUL, MatMulAttrs, (2, 2), matmul_shape, Work.MATMUL),
    OpSpec(Op.LSTM, LstmAttrs, (11, 15), lstm_shape, Work.RECURRENT),
    OpSpec(Op.SVDF, SvdfAttrs, (4, 5), svdf_shape, Work.RECURRENT),
    OpSpec(Op.ADD, FusedAttrs, (2, 2), binary_shape, Work.ELEMENTWISE),
    OpSpec(Op.SUB, FusedAttrs, (2, 2), binary_shape, Work.ELEMENTWISE),
    OpSpec(Op.MUL, FusedAttrs, (2, 2), binary_shape, Work.ELEMENTWISE),
    OpSpec(Op.DIV, FusedAttrs, (2, 2), binary_shape, Work.ELEMENTWISE, float_only=True),
    OpSpec(Op.MAXIMUM, NoAttrs, (2, 2), binary_shape, Work.ELEMENTWISE),
    OpSpec(Op.MINIMUM, NoAttrs, (2, 2), binary_shape, Work.ELEMENTWISE),
    OpSpec(Op.SQUARED_DIFFERENCE, NoAttrs, (2, 2), binary_shape, Work.ELEMENTWISE),
    OpSpec(Op.AVERAGE_POOL_2D, PoolAttrs, (1, 1), pool_shape, Work.POOL),
    OpSpec(Op.MAX_POOL_2D, PoolAttrs, (1, 1), pool_shape, Work.POOL),
    OpSpec(Op.MEAN, MeanAttrs, (1, 1), mean_shape, Work.REDUCE),
    OpSpec(Op.SOFTMAX, SoftmaxAttrs, (1, 1), softmax_shape, Work.SOFTMAX),
    OpSpec(Op.LAYER_NORM, NormAttrs, (2, 3), norm_shape, Work.NORM),
    OpSpec(Op.RMS_NORM, NormAttrs, (2, 2), norm_shape, Work.NORM),
    OpSpec(Op.BATCH_NORM, NormAttrs, (5, 5), norm_shape, Work.NORM, float_only=True),
    OpSpec(Op.RELU, NoAttrs, (1, 1), same_shape, Work.ELEMENTWISE),
    OpSpec(Op.RELU6, NoAttrs, (1, 1), same_shape, Work.ELEMENTWISE),
    OpSpec(Op.RELU_N1_TO_1, NoAttrs, (1, 1), same_shape, Work.ELEMENTWISE),
    OpSpec(Op.CLIP, ClipAttrs, (1, 1), same_shape, Work.ELEMENTWISE),
    OpSpec(Op.LEAKY_RELU, LeakyReluAttrs, (1, 1), same_shape, Work.ELEMENTWISE),
    OpSpec(Op.LOGISTIC, NoAttrs, (1, 1), same_shape, Work.TABLE),
    OpSpec(Op.TANH, NoAttrs, (1, 1), same_shape, Work.TABLE),
    OpSpec(Op.HARD_SWISH, NoAttrs, (1, 1), same_shape, Work.TABLE),
    OpSpec(Op.GELU, GeluAttrs, (1, 1), same_shape, Work.TABLE),
    OpSpec(Op.SILU, NoAttrs, (1, 1), same_shape, Work.TABLE),
    OpSpec(Op.EXP, NoAttrs, (1, 1), same_shape, Work.TABLE),
    OpSpec(Op.RSQRT, NoAttrs, (1, 1), same_shape, Work.TABLE),
    OpSpec(Op.ERF, NoAttrs, (1, 1), same_shape, Work.TABLE, float_only=True),
    OpSpec(Op.SQRT, NoAttrs, (1, 1), same_shape, Work.TABLE, float_only=True),
    OpSpec(Op.POW, NoAttrs, (2, 2), binary_shape, Work.TABLE, float_only=True),
    OpSpec(Op.RESHAPE, ReshapeAttrs, (1, 1), reshape_shape, Work.MOVE),
    OpSpec(Op.TRANSPOSE, TransposeAttrs, (1, 1), transpose_shape, Work.MOVE),
    OpSpec(Op.PAD, PadAttrs, (1, 1), pad_shape, Work.MOVE),
    OpSpec(Op.CONCATENATION, ConcatAttrs, (1, _MANY), concat_shape, Work.MOVE),
    OpSpec(Op.STRIDED_SLICE, SliceAttrs, (1, 1), slice_shape, Work.MOVE),
    OpSpec(Op.SPLIT, SplitAttrs, (1, 1), split_shape, Work.MOVE),
    OpSpec(Op.GATHER, GatherAttrs, (2, 2), gather_shape, Work.MOVE),
    OpSpec(Op.QUANTIZE, NoAttrs, (1, 1), same_shape, Work.ELEMENTWISE),
    OpSpec(Op.DEQUANTIZE, NoAttrs, (1, 1), same_shape, Work.ELEMENTWISE),
    OpSpec(Op.DYNAMIC_QUANTIZE, NoAttrs, (1, 1), dynamic_shape, Work.ELEMENTWISE),
    OpSpec(Op.FAKE_QUANT, FakeQuantAttrs, (1, 1), same_shape, Work.ELEMENTWISE, float_only=True),
    OpSpec(Op.FAKE_TRUNC, FakeTruncAttrs, (1, 1), same_shape, Work.ELEMENTWISE, float_only=True),
)
OPS = MappingProxyType({spec.op: spec for spec in _ROWS})
