"""The encoder block of a small vision transformer (DeiT-Tiny): a torch module and its codes.

`python -m tests.bench.encoder_block [--profile hawq]` shows where the time of its plan goes.
"""

import argparse
import statistics
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

import hwsim
from hwsim.graph import Graph
from hwsim.kernels.plan import Plan, lower
from hwsim.profile import NumericProfile
from hwsim.profiles import PROFILES
from hwsim.quantizer import quantize

TOKENS, WIDTH, HEADS, HIDDEN = 197, 192, 3, 768


class EncoderBlock(nn.Module):
    """Pre-norm attention and a two-layer perceptron, each around a shortcut.

    Shapes: (batch, tokens, width) to the same.
    """

    def __init__(self, tokens: int, width: int, heads: int, hidden: int) -> None:
        """Create the layers."""
        super().__init__()
        self.split = (-1, tokens, 3, heads, width // heads)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.project = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.fc1, self.fc2 = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """Return tokens of the same shape."""
        query, key, value = self.qkv(self.norm1(x)).reshape(self.split).permute(2, 0, 3, 1, 4)
        scores = query @ key.transpose(-2, -1) * self.split[-1] ** -0.5
        attended = (scores.softmax(-1) @ value).transpose(1, 2)
        x = x + self.project(attended.reshape(x.shape))
        y: Tensor = x + self.fc2(functional.gelu(self.fc1(self.norm2(x))))
        return y


class Case(NamedTuple):
    """A network in float and in codes.

    Args:
        module: The float network.
        reals: Its input.
        graph: The integer graph of the same.
        profile: Its arithmetic.
        codes: Its input by name.
    """

    module: nn.Module
    reals: Tensor
    graph: Graph
    profile: NumericProfile
    codes: Mapping[str, np.ndarray]


def encoder_block(profile: str = "hawq", *, tokens: int = TOKENS, seed: int = 0) -> Case:
    """Return one block at batch 1, weights and input random, calibrated on inputs like it."""
    torch.manual_seed(seed)
    module = EncoderBlock(tokens, WIDTH, HEADS, HIDDEN).eval()
    reals = torch.randn(1, tokens, WIDTH)
    graph = hwsim.from_torch(module, reals)
    samples = np.random.default_rng(seed).normal(0, 1, (4, tokens, WIDTH)).astype(np.float32)
    rules = PROFILES[profile]
    integer = quantize(graph, hwsim.calibrate(graph, samples), 8, profile=rules)
    (value,) = integer.inputs
    assert value.quant is not None and value.quant.is_per_tensor
    exact = np.rint(reals.numpy() / value.quant.scale[0]) + value.quant.zero_point[0]
    codes = np.clip(exact, value.dtype.min, value.dtype.max).astype(value.dtype.storage)
    return Case(module, reals, integer, rules, {value.name: codes})


def _median_us(action: Any, rounds: int = 15) -> float:
    """Return the CPU time of a call on this thread."""
    action()
    times = []
    for _ in range(rounds):
        start = time.thread_time()
        action()
        times.append(time.thread_time() - start)
    return 1e6 * statistics.median(times)


def node_times(plan: Plan, codes: Mapping[str, np.ndarray]) -> list[tuple[str, str, bool, float]]:
    """Return name, operator, whether it is machine code, and microseconds of every node."""
    from hwsim.kernels.native.memory import walk_kernel

    program = plan.program
    assert program is not None
    arena = program.arena()
    program.run(arena, codes)
    _, every_entry, words, _ = arena.kept
    start, pitch = words.__array_interface__["data"][0], words.strides[0]
    rows, call = [], 0
    for node, item, work in zip(plan.graph.nodes, program.items, program._work, strict=True):
        if work is None:
            took = _median_us(lambda item=item: program._step(arena, item))
        else:
            first, call = call, call + len(work.calls)
            words_of_walk = np.array(
                [every_entry[first:].__array_interface__["data"][0], call - first,
                 start + first * pitch, pitch]
            )  # fmt: skip
            at = words_of_walk.__array_interface__["data"][0]
            took = _median_us(lambda at=at, kept=words_of_walk: walk_kernel().on(at))
        rows.append((node.name, node.op.value, work is not None, took))
    return rows


def main() -> None:
    """Print the time of every node, of the whole, and of torch."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", default="hawq")
    torch.set_num_threads(1)
    case = encoder_block(parser.parse_args().profile)
    plan = lower(case.graph, case.profile)
    for name, op, native, took in node_times(plan, case.codes):
        print(f"{took:10.1f} us  {'native' if native else 'python'}  {op:18} {name}")
    with torch.inference_mode():
        ratios, ours, theirs = [], [], []
        for _ in range(15):
            ours.append(_median_us(lambda: plan.run(case.codes), 1))
            theirs.append(_median_us(lambda: case.module(case.reals), 1))
            ratios.append(theirs[-1] / ours[-1])
    print(f"block {statistics.median(ours):.0f} us, torch float32 {statistics.median(theirs):.0f}")
    print(f"ratio {statistics.median(ratios):.2f} (> 1: codes are faster)")


if __name__ == "__main__":
    main()
