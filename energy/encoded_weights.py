"""The size of a layer's weights as the compiler of an Ethos-U55 stores them.

A predicted size is an estimate from the codes themselves; a known one (`Layer.encoded_weight_bits`
as a compiler reports it) is kept.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from hwsim.graph import Graph
from hwsim.ops import OPS
from hwsim.platform import NpuPlatform
from hwsim.workload import Layer, Unit, Work

from .block_engine import Engine, engine_of
from .block_pass import Pass, Stage
from .block_passes import passes_of
from .block_search import takes_part_kernel
from .weight_codes import stream_bits

_WEIGHTED = (Work.CONV, Work.DEPTHWISE, Work.FULLY_CONNECTED)
_SUB_KERNEL = 8
_INPUT_STEP = 8
_INPUT_BLOCK = 32
_TAPS = 4  # that a depthwise or part-kernel step takes at once


def with_encoded_weights(
    units: Sequence[Unit], platform: NpuPlatform, codes: Mapping[str, NDArray[np.int64]]
) -> tuple[Unit, ...]:
    """Return a network whose layers state the estimated size of their encoded weights.

    Args:
        units: The network.
        platform: Its engine decides how the weights are ordered and padded.
        codes: Weight codes minus their zero point by `Layer.node`; a layer that is missing keeps
            its packed width.
    """
    engine = engine_of(platform, 0)
    return tuple(
        replace(unit, layers=tuple(_encoded(engine, layer, codes) for layer in unit.layers))
        for unit in units
    )


def weight_codes(graph: Graph) -> dict[str, NDArray[np.int64]]:
    """Return the weight codes minus their zero point of an integer graph's nodes, by name."""
    codes = {}
    for node in graph.nodes:
        if OPS[node.op].work not in _WEIGHTED or len(node.inputs) < 2:
            continue
        weights = graph.values[node.inputs[1]]
        if weights.data is None or weights.quant is None:
            continue
        zero_point = np.asarray(weights.quant.zero_point, np.int64)
        if weights.quant.axis is not None and zero_point.size > 1:
            shape = [1] * weights.data.ndim
            shape[weights.quant.axis] = -1
            zero_point = zero_point.reshape(shape)
        codes[node.name] = weights.data.astype(np.int64) - zero_point
    return codes


def _encoded(engine: Engine, layer: Layer, codes: Mapping[str, NDArray[np.int64]]) -> Layer:
    """Return a layer with the size of its encoded weights."""
    if layer.encoded_weight_bits is not None or layer.node not in codes:
        return layer
    weights = codes[layer.node]
    slots = sum(_slots(engine, work) for work in passes_of(layer) if work.biased)
    padding = max(slots - weights.size, 0)
    return replace(layer, encoded_weight_bits=stream_bits(weights, padding))


def _slots(engine: Engine, work: Pass) -> int:
    """Return the weights of a stream, with the zeros that fill pieces of kernel and depth."""
    outputs = _up(work.ofm[2], engine.micro_block[2])
    part_kernel = takes_part_kernel(work)
    step = _TAPS if part_kernel or work.stage is Stage.DEPTHWISE else 1
    rows, columns = (
        [min(_SUB_KERNEL, size - start) for start in range(0, size, _SUB_KERNEL)]
        for size in work.kernel
    )
    taps = sum(_up(high * wide, step) for high in rows for wide in columns)
    if work.stage is Stage.DEPTHWISE:
        return outputs * taps
    return outputs * taps * _up(work.ifm[2], _INPUT_STEP if part_kernel else _INPUT_BLOCK)


def _up(value: int, step: int) -> int:
    """Return the next multiple of a step."""
    return -(-value // step) * step
