"""Small random QONNX models: what Brevitas exports, in float32 and without training."""

from typing import Any

import numpy as np
import onnx
from onnx import helper

from tests.onnx_writer import model

GENERAL = "qonnx.custom_op.general"
MODES = ("ROUND", "HALF_EVEN", "CEIL", "FLOOR", "UP", "DOWN", "HALF_UP", "HALF_DOWN")


class Net:
    """Nodes and constants of a model under construction; methods return tensor names."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, np.ndarray] = {}

    def constant(self, array: Any) -> str:
        name = f"c{len(self.constants)}"
        self.constants[name] = np.asarray(array, np.float32)
        return name

    def node(self, kind: str, inputs: list[str], domain: str = "", **attrs: Any) -> str:
        out = f"t{len(self.nodes)}"
        made = helper.make_node(kind, inputs, [out], name=f"n{len(self.nodes)}", **attrs)
        made.domain = domain
        self.nodes.append(made)
        return out

    def quant(
        self, x: str, scale: Any, bits: int = 8, *, zero: Any = 0, signed: int = 1,
        narrow: int = 0, mode: str = "ROUND", domain: str = GENERAL, kind: str = "Quant",
    ) -> str:  # fmt: skip
        inputs = [x, self.constant(scale), self.constant(zero), self.constant(bits)]
        return self.node(kind, inputs, domain, signed=signed, narrow=narrow, rounding_mode=mode)

    def bipolar(self, x: str, scale: Any) -> str:
        return self.node("BipolarQuant", [x, self.constant(scale)], GENERAL)

    def weights(self, *shape: int, bits: int = 4, per_channel: bool = True) -> str:
        """Return quantized weights, narrow, with a scale per output channel or one."""
        real = self.rng.normal(0, 1, shape).astype(np.float32)
        axes = tuple(range(1, len(shape)))
        top = np.abs(real).max(axis=axes, keepdims=True) if per_channel else np.abs(real).max()
        scale = np.float32(top / max(2 ** (bits - 1) - 1, 1))
        if bits == 1:
            return self.bipolar(self.constant(real), scale)
        return self.quant(self.constant(real), scale, bits, narrow=1)

    def done(self, shape: tuple[int, ...], *outputs: str) -> onnx.ModelProto:
        # The last node takes the name of the output; every name stays unique.
        made = model(self.nodes, {"x": shape}, self.constants, outputs=outputs, batch=1)
        made.opset_import.append(helper.make_opsetid(GENERAL, 1))
        for domain in {n.domain for n in self.nodes} - {"", GENERAL}:
            made.opset_import.append(helper.make_opsetid(domain, 1))
        return made


def cnn(seed: int, *, bits: int = 4, final: bool = False) -> onnx.ModelProto:
    """Convolutions with batch norm and ReLU, a residual, a depthwise layer, a classifier."""
    n = Net(seed)
    rng = n.rng

    def norm(x: str, channels: int) -> str:
        params = (
            rng.normal(1, 0.5, channels),  # some factors are negative
            rng.normal(0, 0.3, channels),
            rng.normal(0, 0.5, channels),
            rng.uniform(0.5, 2, channels),
        )
        return n.node("BatchNormalization", [x, *map(n.constant, params)], epsilon=1e-5)

    x = n.quant("x", 1 / 64, 8)
    y = n.node("Conv", [x, n.weights(6, 3, 3, 3, bits=bits)], pads=[1] * 4)
    y = n.quant(n.node("Relu", [norm(y, 6)]), 0.11, bits, signed=0)
    z = n.node("Conv", [y, n.weights(6, 1, 3, 3, bits=bits)], group=6, pads=[1] * 4)
    z = n.quant(n.node("Relu", [norm(z, 6)]), 0.07, bits, signed=0)
    z = n.node("Conv", [z, n.weights(6, 6, 1, 1, bits=bits), n.constant(rng.normal(0, 1, 6))])
    z = n.quant(z, 0.2, 8)
    y = n.quant(n.node("Relu", [n.node("Add", [y, z])]), 0.1, 8, signed=0)
    y = n.node("MaxPool", [y], kernel_shape=[2, 2], strides=[2, 2])
    y = n.quant(n.node("GlobalAveragePool", [y]), 0.05, 8, signed=0)
    y = n.node("Flatten", [y])
    w = n.node("Transpose", [n.weights(5, 6, bits=bits, per_channel=False)], perm=[1, 0])
    y = n.node("Add", [n.node("MatMul", [y, w]), n.constant(rng.normal(0, 0.5, 5))])
    y = n.quant(y, 0.1, 8) if final else y
    return n.done((3, 6, 6), y)


def mlp(seed: int, bits: int) -> onnx.ModelProto:
    """Two Gemm layers, one with bipolar weights where bits is 1; asymmetric activations."""
    n = Net(seed)
    x = n.quant("x", 1 / 32, 6, zero=7, signed=0)
    y = n.node("Gemm", [x, n.weights(9, 7, bits=bits), n.constant(n.rng.normal(0, 1, 9))], transB=1)
    y = n.quant(n.node("Relu", [y]), 0.3, 5, signed=0)
    return n.done((7,), n.node("Gemm", [y, n.weights(3, 9, bits=max(bits, 2))], transB=1))


def single(seed: int, mode: str, bits: int, signed: int, narrow: int) -> onnx.ModelProto:
    """One quantizer of a computed tensor, a scale per channel or one."""
    n = Net(seed)
    scale = n.rng.uniform(0.01, 1, (1, 3, 1, 1) if seed % 2 else ())
    zero = int(n.rng.integers(0, 2**bits - 1)) if not signed and seed % 3 == 0 else 0
    zero -= 1 if zero and narrow else 0
    y = n.quant("x", scale, bits, zero=max(zero, 0), signed=signed, narrow=narrow, mode=mode)
    return n.done((3, 4, 4), y)
