"""Evaluate a `tests.tflite_writer.Model` with the oracles, every tensor."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tests.oracle import (
    arith,
    batch_matmul,
    conv,
    elementwise,
    fully_connected,
    interpolate,
    mean,
    movement,
    pool,
    rsqrt,
    softmax,
    table,
)
from tests.tflite_writer import Model, Operator, Tensor

RANGES = {
    "int8": (-128, 127),
    "uint8": (0, 255),
    "int16": (-32768, 32767),
    "int32": (-(2**31), 2**31 - 1),
}
RELU_ENDS = {"RELU": (0.0, math.inf), "RELU6": (0.0, 6.0), "RELU_N1_TO_1": (-1.0, 1.0)}


Evaluate = Callable[[Operator, Mapping[str, Tensor], Mapping[str, np.ndarray]], list[np.ndarray]]


def run(
    model: Model, feed: Mapping[str, np.ndarray], rule: "Evaluate | None" = None
) -> dict[str, np.ndarray]:
    """Return every tensor by name: int64 codes, float32 reals.

    Args:
        model: What to run.
        feed: Its inputs.
        rule: How one operator is computed; `evaluate` of this module unless given.
    """
    one = rule or evaluate
    values: dict[str, np.ndarray] = {}
    for tensor in model.tensors:
        if tensor.data is not None:
            values[tensor.name] = tensor.data
    values |= feed
    by_name = {tensor.name: tensor for tensor in model.tensors}
    for operator in model.operators:
        results = one(operator, by_name, values)
        for name, result in zip(operator.outputs, results, strict=True):
            values[name] = result.reshape(by_name[name].shape)
    return values


def accumulator_bits(ins: list[Tensor]) -> int:
    """Return 64 for int16 activations, unless the bias is int32."""
    wide = ins[0].dtype == "int16" and not (len(ins) > 2 and ins[2].dtype == "int32")
    return 64 if wide else 32


def evaluate(
    operator: Operator, tensors: Mapping[str, Tensor], values: Mapping[str, np.ndarray]
) -> list[np.ndarray]:
    """Return the outputs of one operator."""
    kind = operator.builtin
    options = operator.options
    ins = [tensors[name] for name in operator.inputs if name]
    args = [values[name] if name else None for name in operator.inputs]
    out = tensors[operator.outputs[0]]
    first = ins[0]
    x = args[0]
    assert x is not None
    ends: dict[str, int] = {}
    if out.dtype in RANGES:
        low, high = arith.activation_range(
            options.get("fusedActivationFunction", "NONE"),
            out.scale[0],
            out.zero_point[0],
            *RANGES[out.dtype],
        )
        ends = {"low": low, "high": high}
    unary: dict[str, Any] = {}
    if first.scale and out.scale:
        unary = {
            "input_scale": first.scale[0],
            "input_zero_point": first.zero_point[0],
            "output_scale": out.scale[0],
            "output_zero_point": out.zero_point[0],
            **ends,
        }
    match kind:
        case "CONV_2D" | "DEPTHWISE_CONV_2D":
            weights = args[1]
            assert weights is not None
            result = conv.conv_2d(
                x,
                weights,
                args[2] if len(args) > 2 else None,
                weight_scales=ins[1].scale,
                weight_zero_point=ins[1].zero_point[0],
                stride=(options["strideH"], options["strideW"]),
                dilation=(options.get("dilationHFactor", 1), options.get("dilationWFactor", 1)),
                padding=options["padding"],
                unsigned=first.dtype == "uint8",
                depthwise=kind == "DEPTHWISE_CONV_2D",
                accumulator_bits=accumulator_bits(ins),
                **unary,
            )
        case "TRANSPOSE_CONV":
            pixels, weights = args[2], args[1]
            assert pixels is not None and weights is not None
            unary |= {"input_scale": ins[2].scale[0], "input_zero_point": ins[2].zero_point[0]}
            result = conv.transpose_conv(
                pixels,
                weights,
                args[3] if len(args) > 3 else None,
                weight_scales=ins[1].scale,
                weight_zero_point=ins[1].zero_point[0],
                output_scale=out.scale[0],
                output_zero_point=out.zero_point[0],
                stride=(options["strideH"], options["strideW"]),
                padding=options["padding"],
                size=(out.shape[1], out.shape[2]),
                unsigned=ins[2].dtype == "uint8",
                accumulator_bits=accumulator_bits(ins[2:3] + ins[1:2] + ins[3:]),
                **{**unary, **ends},
            )
        case "FULLY_CONNECTED":
            weights = args[1]
            assert weights is not None
            result = fully_connected.fully_connected(
                x,
                weights,
                args[2] if len(args) > 2 else None,
                weight_scales=ins[1].scale,
                weight_zero_point=ins[1].zero_point[0],
                accumulator_bits=accumulator_bits(ins),
                **unary,
            )
        case "MAXIMUM" | "MINIMUM":
            assert args[1] is not None
            extremum = max if kind == "MAXIMUM" else min
            result = elementwise.per_pair(x, args[1], extremum)
        case "GATHER":
            assert args[1] is not None
            result = movement.gather(x, args[1], options.get("axis", 0))
        case "EMBEDDING_LOOKUP":
            assert args[1] is not None
            result = movement.gather(args[1], x, 0)
        case "ADD" | "SUB" if options.get("potScaleInt16", first.dtype == "int16") and all(
            interpolate.near_power(tensor.scale[0]) is not None for tensor in (*ins, out)
        ):
            assert args[1] is not None
            powers = [interpolate.near_power(tensor.scale[0]) for tensor in (*ins, out)]
            result = elementwise.add_powers(
                x, args[1], powers=tuple(powers), subtract=kind == "SUB", **ends
            )
        case "ADD" | "SUB" | "MUL" | "BATCH_MATMUL" | "SQUARED_DIFFERENCE":
            y = args[1]
            assert y is not None
            a, b = ("lhs", "rhs") if kind == "BATCH_MATMUL" else ("a", "b")
            binary: dict[str, Any] = {
                "output_scale": out.scale[0],
                "output_zero_point": out.zero_point[0],
                **ends,
            }
            for tag, tensor in ((a, ins[0]), (b, ins[1])):
                if kind == "BATCH_MATMUL":
                    binary[f"{tag}_scale"] = tensor.scale[0]
                    binary[f"{tag}_zero_point"] = tensor.zero_point[0]
                else:
                    binary[f"scale_{tag}"] = tensor.scale[0]
                    binary[f"zero_point_{tag}"] = tensor.zero_point[0]
            if kind == "MUL":
                result = elementwise.mul(x, y, **binary)
            elif kind == "SQUARED_DIFFERENCE":
                result = elementwise.squared_difference(x, y, **binary)
            elif kind == "BATCH_MATMUL":
                result = batch_matmul.batch_matmul(
                    x,
                    y,
                    adj_x=options.get("adjX", False),
                    adj_y=options.get("adjY", False),
                    accumulator_bits=accumulator_bits(ins),
                    **binary,
                )
            else:
                result = elementwise.add(
                    x,
                    y,
                    subtract=kind == "SUB",
                    left_shift=15 if first.dtype == "int16" else 20,
                    **binary,
                )
        case "QUANTIZE":
            if first.dtype == "float32":
                result = elementwise.quantize_reals(
                    x, output_scale=out.scale[0], output_zero_point=out.zero_point[0], **ends
                )
            else:
                result = elementwise.quantize_codes(x, **unary)
        case "DEQUANTIZE":
            result = elementwise.dequantize(x, scale=first.scale[0], zero_point=first.zero_point[0])
        case "LEAKY_RELU":
            result = elementwise.leaky_relu(x, alpha=options["alpha"], **unary)
        case "RELU" | "RELU6" | "RELU_N1_TO_1":
            smallest, largest = RELU_ENDS[kind]
            result = elementwise.relu(x, smallest=smallest, largest=largest, **unary)
        case "AVERAGE_POOL_2D" | "MAX_POOL_2D":
            result = pool.pool_2d(
                x,
                kind="max" if kind == "MAX_POOL_2D" else "average",
                kernel=(options["filterHeight"], options["filterWidth"]),
                stride=(options["strideH"], options["strideW"]),
                padding=options["padding"],
                **ends,
            )
        case "MEAN":
            axes = args[1]
            assert axes is not None
            result = mean.mean(
                x, axes=axes.ravel().tolist(), keep_dims=options["keepDims"], **unary
            )
        case "SOFTMAX" if first.dtype == "int16":
            result = interpolate.softmax(
                x, input_scale=first.scale[0], beta=arith.f32(options["beta"])
            )
        case "LOGISTIC" | "TANH" if first.dtype == "int16":
            result = interpolate.sigmoid(x, function=kind, input_scale=first.scale[0])
        case "GELU" | "EXP" | "RSQRT" if first.dtype == "int16":
            result = interpolate.lookup(x, function=kind, **unary)
        case "RSQRT":
            result = rsqrt.rsqrt(x, **unary)
        case "SOFTMAX":
            result = softmax.softmax(
                x,
                input_scale=first.scale[0],
                beta=arith.f32(options["beta"]),
                unsigned=out.dtype == "uint8",
            )
        case "LOGISTIC" | "TANH" | "GELU" | "EXP":
            result = table.lookup(x, function=kind, **unary)
        case "HARD_SWISH":
            result = table.hard_swish(x, **unary)
        case "RESHAPE" | "SQUEEZE" | "EXPAND_DIMS":
            result = x.reshape(out.shape)
        case "PACK":
            result = np.stack([part for part in args if part is not None], options["axis"])
        case "UNPACK":
            axis = options["axis"]
            return [np.take(x, i, axis) for i in range(x.shape[axis])]
        case "TRANSPOSE":
            assert args[1] is not None
            result = movement.transpose(x, args[1].tolist())
        case "PAD" | "PADV2":
            assert args[1] is not None
            fill = out.zero_point[0]
            if kind == "PADV2":
                assert args[2] is not None
                fill = int(args[2].ravel()[0])
            result = movement.pad(x, args[1].tolist(), fill)
        case "CONCATENATION":
            result = movement.concatenation(
                [part for part in args if part is not None],
                axis=options["axis"],
                scales=[tensor.scale[0] for tensor in ins],
                zero_points=[tensor.zero_point[0] for tensor in ins],
                output_scale=out.scale[0],
                output_zero_point=out.zero_point[0],
                **ends,
            )
        case "STRIDED_SLICE":
            begin, end, strides = args[1:]
            assert begin is not None and end is not None and strides is not None
            result = movement.strided_slice(
                x,
                begin=begin.tolist(),
                end=end.tolist(),
                strides=strides.tolist(),
                begin_mask=options.get("beginMask", 0),
                end_mask=options.get("endMask", 0),
                shrink_axis_mask=options.get("shrinkAxisMask", 0),
            )
        case "SLICE":
            begin, size = args[1:]
            assert begin is not None and size is not None
            result = movement.slice_codes(x, begin.tolist(), size.tolist())
        case "SPLIT":
            codes = args[1]
            assert codes is not None
            return movement.split(codes, int(x.ravel()[0]), options["numSplits"])
        case "SPLIT_V":
            axis, edges = args[2], np.cumsum([0, *(args[1] if args[1] is not None else [])])
            assert axis is not None
            along = int(axis.ravel()[0])
            return [
                np.take(x, range(start, stop), along)
                for start, stop in zip(edges[:-1], edges[1:], strict=True)
            ]
        case _:
            raise ValueError(f"no oracle for {kind}")
    return [result]
