"""Flips on wires, against a bit-by-bit oracle and the recorded counts; streams of real layers."""

from itertools import product
from pathlib import Path

import numpy as np
import onnx
import pytest

import hwsim
from hwsim import networks
from hwsim.attributes import ConvAttrs, MatMulAttrs
from hwsim.energy.mac_cells import MIXED, SIGNED, UNSIGNED, cell_toggles
from hwsim.energy.operands import (
    COUNTED,
    Array,
    Dataflow,
    _column_sum,
    _gemm,
    _matmul,
    _plain,
    _stationary,
    layer_toggles,
)
from hwsim.energy.toggles import WIRES, count, flips, summary
from hwsim.errors import InputError
from hwsim.graph import Graph, Node
from hwsim.macs import count_toggles
from hwsim.ops import Op
from tests.energy.reference import read_csv
from tests.test_inference_cost import convolutions


def bits_of(value: int, bits: int) -> list[int]:
    return [(value >> i) & 1 for i in range(bits)]


def changed(before: list[int], after: list[int]) -> int:
    return sum(a != b for a, b in zip(before, after, strict=True))


def oracle(
    w: list[int], a: list[int], s: list[int], widths: tuple[int, int, int]
) -> tuple[float, ...]:
    """Count wire by wire and bit by bit."""
    wb, ab, accb = widths
    totals = [0, 0, 0, 0, 0]
    for t in range(1, len(w)):
        wires = []
        for i in (t - 1, t):
            ws, activations = bits_of(w[i], wb), bits_of(a[i], ab)
            wires.append(
                (
                    ws, activations, [x & y for x in ws for y in activations],
                    bits_of(w[i] * a[i], accb), bits_of(s[i], accb),
                )
            )  # fmt: skip
        for index in range(5):
            totals[index] += changed(wires[0][index], wires[1][index])
    return tuple(total / (len(w) - 1) for total in totals)


@pytest.mark.parametrize("widths", [(4, 4, 16), (8, 3, 32), (2, 9, 20)])
def test_counts_equal_the_oracle(widths: tuple[int, int, int]) -> None:
    rng = np.random.default_rng(5)
    w = rng.integers(-(1 << widths[0] - 1), 1 << widths[0] - 1, (6, 20))
    a = rng.integers(-(1 << widths[1] - 1), 1 << widths[1] - 1, (6, 20))
    s = np.cumsum(w * a, axis=1)
    found = count(w, a, s, widths)
    for row in range(6):
        expected = oracle(w[row].tolist(), a[row].tolist(), s[row].tolist(), widths)
        assert found[row].tolist() == pytest.approx(expected, rel=1e-12)


def test_held_values_and_sign_extensions() -> None:
    held = np.array([[5, 5, 5]])
    assert flips(held, 8).tolist() == [[0, 0]]
    # -1 to 0 flips every bit of the accumulator's width: the sign extension.
    assert flips(np.array([[-1, 0]]), 32).tolist() == [[32]]


def test_uniform_streams_flip_as_recorded() -> None:
    rows = read_csv("toggle_counts.csv", 6)
    for row in rows:
        bits = int(row["width_bits"])
        signed = SIGNED if row["signedness"] == "signed" else UNSIGNED
        made = cell_toggles(signed, (bits, bits, 32), "uniform", "uniform")
        operands = made.on("weight") + made.on("activation")
        assert operands == pytest.approx(float(row["operand_toggles_per_mac"]), rel=0.02)
        entered = float(row["accumulator_input_toggles_per_mac"])
        assert made.on("accumulator_input") == pytest.approx(entered, rel=0.05)


def test_a_relu_activation_flips_fewer_extended_signs() -> None:
    signed = cell_toggles(SIGNED, (8, 8, 32), "gaussian", "gaussian")
    rectified = cell_toggles(MIXED, (8, 8, 32), "gaussian", "gaussian_relu")
    unsigned = cell_toggles(UNSIGNED, (8, 8, 32), "gaussian_magnitude", "gaussian_magnitude")
    entered = [m.on("accumulator_input") for m in (signed, rectified, unsigned)]
    assert entered[0] > entered[1] > entered[2]


def network() -> tuple[Graph, dict[str, np.ndarray]]:
    """Return a small convolutional network in integers and four of its inputs."""
    graph = hwsim.load(networks.path(networks.NAMES[0]))
    inputs = hwsim.random_inputs(graph, 16)
    made = hwsim.quantize(graph, hwsim.calibrate(graph, inputs), 8)
    return made, hwsim.random_inputs(made, 2)


def streams_of(graph: Graph, values: dict[str, np.ndarray], name: str) -> list[list[list[int]]]:
    """Return every output's [weights, activations] of a convolution, padded, by nested loops."""
    node = next(node for node in graph.nodes if node.name == name)
    x, w = graph.values[node.inputs[0]], graph.values[node.inputs[1]]
    assert x.quant is not None and w.quant is not None and w.data is not None
    codes = values[x.name][:1].astype(int) - x.quant.zero_point[0]
    rows, columns = codes.shape[1:3]
    pixels = codes.tolist()
    taps = w.data.astype(int).tolist()
    top, left, _, _ = node.attrs.padding  # type: ignore[union-attr]
    stride = node.attrs.stride  # type: ignore[union-attr]
    _, height, width, channels = values[node.outputs[0]].shape
    sizes = [range(size) for size in w.shape[1:]]
    found = []
    for row, column, n in product(range(height), range(width), range(channels)):
        ws, activations = [], []
        for ky, kx, c in product(*sizes):
            y, z = row * stride[0] + ky - top, column * stride[1] + kx - left
            inside = 0 <= y < rows and 0 <= z < columns
            ws.append(taps[n][ky][kx][c])
            activations.append(pixels[0][y][z][c] if inside else 0)
        found.append([ws, activations])
    return found


def test_a_sampled_layer_agrees_with_every_stream_of_it() -> None:
    graph, inputs = network()
    values = hwsim.trace(graph, {name: array[:1] for name, array in inputs.items()})
    node = next(node for node in graph.nodes if node.op is Op.CONV_2D)
    sample = layer_toggles(graph, node, values, Array(rows=4, columns=4), operations=1 << 17)
    streams = streams_of(graph, values, node.name)
    weights, activations = (np.array(part) for part in zip(*streams, strict=True))
    length = weights.shape[1]
    sums = np.cumsum(weights * activations, axis=1)
    every = count(weights, activations, sums, sample.widths).mean(axis=0)
    for wire, inside in enumerate(every):
        if WIRES[wire] == "accumulator":
            continue  # its step to the next output is a return to a small number: no like step
        # The sample also holds the step to the next output: one of `length` steps.
        slack = 4 * sample.toggles.error[wire] + inside / length
        assert abs(sample.toggles.mean[wire] - inside) <= slack, WIRES[wire]


def test_a_stationary_weight_does_not_flip_and_the_seed_is_fixed() -> None:
    graph, inputs = network()
    still = count_toggles(graph, inputs, Array(Dataflow.WEIGHT_STATIONARY), operations=1 << 14)
    moving = count_toggles(graph, inputs, operations=1 << 14)
    assert still == count_toggles(
        graph, inputs, Array(Dataflow.WEIGHT_STATIONARY), operations=1 << 14
    )
    pixels = {
        n.name: 2 * int(np.prod(graph.values[n.outputs[0]].shape[1:3]))
        for n in graph.nodes
        if n.op is Op.CONV_2D
    }
    for held, streamed in zip(still, moving, strict=True):
        if held.node in pixels:
            # A new weight arrives once in as many steps as there are pixels.
            share = held.toggles.on("weight") / streamed.toggles.on("weight")
            assert share <= 1.5 / pixels[held.node]
            assert 0 < max(streamed.toggles.error) < 0.5


def test_only_integer_graphs_and_real_arrays_are_counted() -> None:
    graph = hwsim.load(networks.path(networks.NAMES[0]))
    with pytest.raises(InputError) as caught:
        count_toggles(graph, {})
    assert str(caught.value) == (
        f"graph {graph.name!r} must be quantized to count toggles, not float"
    )
    with pytest.raises(InputError) as caught:
        Array(rows=0)
    assert str(caught.value) == "array must have rows and columns, not 0x16"


def sums_by_loops(graph: Graph, values: dict[str, np.ndarray], node: Node) -> np.ndarray:
    """Return every accumulator of a convolution, (pixels, channels), tap by tap."""
    x, w = graph.values[node.inputs[0]], graph.values[node.inputs[1]]
    assert x.quant is not None and w.data is not None
    assert isinstance(node.attrs, ConvAttrs)
    codes = values[x.name].astype(int) - x.quant.zero_point[0]
    weights = w.data.astype(int)
    depthwise = node.op is Op.DEPTHWISE_CONV_2D
    channels = weights.shape[3] if depthwise else weights.shape[0]
    depth = 1 if depthwise else weights.shape[3]
    per_group = channels // (channels if depthwise else node.attrs.groups)
    batch, height, width, _ = values[node.outputs[0]].shape
    top, left, _, _ = node.attrs.padding
    made = np.zeros((batch, height, width, channels), int)
    for b, r, c, n in np.ndindex(*made.shape):
        for ky, kx, d in np.ndindex(*weights.shape[1:3], depth):
            y = r * node.attrs.stride[0] + ky - top
            z = c * node.attrs.stride[1] + kx - left
            if 0 <= y < codes.shape[1] and 0 <= z < codes.shape[2]:
                tap = weights[0, ky, kx, n] if depthwise else weights[n, ky, kx, d]
                made[b, r, c, n] += tap * codes[b, y, z, n // per_group * depth + d]
    return made.reshape(-1, channels)


def test_operands_of_every_kind_of_convolution_make_its_sums(tmp_path: Path) -> None:
    onnx.save(convolutions(4), tmp_path / "net.onnx")
    graph = hwsim.load(tmp_path / "net.onnx")
    values = hwsim.trace(graph, hwsim.random_inputs(graph, 2))
    nodes = [node for node in graph.nodes if node.op in COUNTED]
    assert {node.op for node in nodes} == {Op.CONV_2D, Op.DEPTHWISE_CONV_2D}
    for node in nodes:
        gemm = _gemm(graph, node, values)
        groups, m_size, n_size, k_size = gemm.shape
        expected = sums_by_loops(graph, values, node)
        g, m, n = (axis.reshape(-1, 1) for axis in np.indices((groups, m_size, n_size)))
        k = np.arange(k_size)[None, :]
        found = (gemm.activation(g, m, k) * gemm.weight(g, k, n)).sum(axis=1)
        assert np.array_equal(
            found.reshape(groups, m_size, n_size).transpose(1, 0, 2).reshape(m_size, -1), expected
        )
        # The sum at the last row of a column that holds the whole reduction is the output's.
        last = np.full_like(g, k_size - 1)
        tall = Array(Dataflow.WEIGHT_STATIONARY, rows=k_size, columns=4)
        assert np.array_equal(_column_sum(gemm, tall, g, m, n, last)[:, 0], found)
        short = Array(Dataflow.WEIGHT_STATIONARY, rows=1, columns=4)
        alone = gemm.activation(g, m, last) * gemm.weight(g, last, n)
        assert np.array_equal(_column_sum(gemm, short, g, m, n, last), alone)


def test_matmuls_are_counted_on_both_activations() -> None:
    rng = np.random.default_rng(9)
    a, b = rng.integers(-8, 8, (2, 3, 5, 4)), rng.integers(-8, 8, (2, 3, 6, 4))
    gemm = _matmul(a, b, MatMulAttrs(transpose_b=True))
    g, m, n = (axis.reshape(-1, 1) for axis in np.indices((6, 5, 6)))
    k = np.arange(4)[None, :]
    found = (gemm.activation(g, m, k) * gemm.weight(g, k, n)).sum(axis=1)
    assert np.array_equal(found.reshape(2, 3, 5, 6), a @ b.swapaxes(-1, -2))


def test_stationary_tiles_follow_each_other_as_in_the_loops() -> None:
    # Channels outside, reduction inside, pixels innermost; the last step comes before the first.
    rng = np.random.default_rng(4)
    a, w = rng.integers(-8, 8, (2, 7)), rng.integers(-8, 8, (7, 5))
    rows, columns, widths = 3, 2, (4, 4, 16)
    totals, steps = np.zeros(4), 0
    for r, c in product(range(rows), range(columns)):
        order = [
            (m, n, k)
            for n in range(c, 5, columns)
            for k in range(r, 7, rows)
            for m in range(2)
        ]  # fmt: skip
        order = [order[-1], *order]
        ws = [int(w[k, n]) for _, n, k in order]
        activations = [int(a[m, k]) for m, _, k in order]
        found = oracle(ws, activations, [0] * len(order), widths)
        totals += np.array(found[:4]) * (len(order) - 1)
        steps += len(order) - 1
    assert steps == a.size * 5
    gemm = _plain(a[None], w[None])
    array = Array(Dataflow.WEIGHT_STATIONARY, rows, columns)
    streams, drawn = _stationary(gemm, array, widths, 1 << 17)
    made = summary(streams, drawn, exact=False)
    for wire, exact in enumerate(totals / steps):
        assert abs(made.mean[wire] - exact) < 4 * made.error[wire], WIRES[wire]
