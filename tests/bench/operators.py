"""Single operators besides products: ours in codes, torch's in float32, one thread.

Depthwise convolutions also meet ONNX Runtime's QLinearConv. A torch operator gets its input ready
and allocates its result.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

import hwsim
from hwsim.kernels.plan import lower
from hwsim.profiles import PROFILES
from hwsim.quantizer import quantize

from . import convolution
from .one_node import Bare
from .table import TORCH, Figure, Row, seconds_in_words
from .timing import Call, Effort, Ratio, faster, interleave


class Add(nn.Module):
    """A residual add: of a value and of what is half of it."""

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the sum."""
        return functional.relu(x + y)


@dataclass(frozen=True)
class Operator:
    """A module on an input of a shape, in the codes of a profile."""

    name: str
    module: nn.Module
    shape: tuple[int, ...]
    profile: str
    inputs: int = 1


OPERATORS = (
    Operator("softmax 12 x 197 x 197", nn.Softmax(-1), (1, 12, 197, 197), "tflm"),
    Operator("softmax 12 x 197 x 197", nn.Softmax(-1), (1, 12, 197, 197), "ibert"),
    Operator("LayerNorm 197 x 192", nn.LayerNorm(192), (1, 197, 192), "hawq"),
    Operator("LayerNorm 197 x 192", nn.LayerNorm(192), (1, 197, 192), "ibert"),
    Operator("GELU 197 x 768, by a byte table", nn.GELU(), (1, 197, 768), "hawq"),
    Operator("GELU 197 x 768", nn.GELU(), (1, 197, 768), "ivit"),
    Operator("residual add and ReLU 56 x 56 x 64", Add(), (1, 56, 56, 64), "tflm", 2),
)


def measure(operator: Operator, effort: Effort) -> Row:
    """Return the row of one operator."""
    torch.manual_seed(0)
    reals = tuple(torch.randn(operator.shape) for _ in range(operator.inputs))
    module = operator.module.eval()
    floats = hwsim.from_torch(module, reals if operator.inputs > 1 else reals[0])
    arrays = dict(zip(floats.input_names, (real.numpy() for real in reals), strict=True))
    rules = PROFILES[operator.profile]
    graph = quantize(floats, hwsim.calibrate(floats, arrays), 8, profile=rules)
    codes = {}
    for value in graph.inputs:
        assert value.quant is not None
        exact = np.rint(arrays[value.name] / value.quant.scale[0]) + value.quant.zero_point[0]
        codes[value.name] = np.clip(exact, value.dtype.min, value.dtype.max).astype(
            value.dtype.storage
        )
    plan = lower(graph, rules)
    (output,) = graph.output_names
    expected = plan.reference(codes)[output]
    foreign = [node for node in plan.calls if node.native is None]
    field: dict[str, Call] = {}
    if foreign:
        field["hwsim"] = lambda: plan.run(codes)
        made: Any = plan.run(codes)[output]
    else:
        bare = Bare(plan, codes)
        bare.walk()
        made = bare.result(output)
        field["hwsim"] = bare.walk
    if not np.array_equal(made, expected):
        raise ValueError(f"{operator.name}: codes must equal those of the reference kernels")
    with torch.inference_mode():
        field[TORCH] = lambda: module(*reals)
        seconds = interleave(field, effort)
    medians = {key: Ratio.of(values).median for key, values in seconds.items()}
    ratio = faster(seconds, "hwsim")[TORCH]
    note = ", reference loops" if foreign else ""
    return Row(
        "operators",
        f"{operator.name}, {operator.profile}{note}",
        1,
        seconds_in_words(medians["hwsim"]),
        {TORCH: Figure(ratio.median, ratio.least, ratio.most)},
        "reference kernels, byte for byte",
        medians,
    )


def rows(effort: Effort, threads: int, operators: Sequence[Operator]) -> list[Row]:
    """Return the rows of depthwise convolutions and of the others."""
    deep = convolution.DEPTHWISE if len(operators) > 1 else convolution.DEPTHWISE[-1:]
    made = [row for layer in deep for row in convolution.measure(layer, effort, part="operators")]
    return made + [measure(operator, effort) for operator in operators]
