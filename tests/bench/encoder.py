"""The encoder block of a small vision transformer in codes, beside torch float32.

torch runs the module as written and with its fused attention; the faster counts.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

import hwsim
from hwsim.kernels.plan import lower

from .encoder_block import EncoderBlock, encoder_block
from .one_node import Bare
from .table import TORCH, Figure, Row, seconds_in_words
from .timing import Call, Effort, Ratio, best_of, faster, interleave

PROFILES = ("hawq", "ibert", "ivit")
GOAL = 1.0
BATCH = 4


class Fused(nn.Module):
    """The block with torch's fused attention."""

    def __init__(self, block: EncoderBlock) -> None:
        """Share the layers of a block."""
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        """Return tokens of the same shape."""
        block = self.block
        parts = block.qkv(block.norm1(x)).reshape(block.split).permute(2, 0, 3, 1, 4)
        attended = functional.scaled_dot_product_attention(*parts).transpose(1, 2)
        x = x + block.project(attended.reshape(x.shape))
        y: Tensor = x + block.fc2(functional.gelu(block.fc1(block.norm2(x))))
        return y


def torch_call(module: nn.Module, reals: Tensor, pool: int) -> Call:
    """Return a call on so many threads."""

    def call() -> None:
        torch.set_num_threads(pool)
        module(reals)

    return call


def rows(effort: Effort, threads: int, tokens: int) -> list[Row]:
    """Return a row per profile; several threads share a batch."""
    torch.set_num_threads(threads)
    rows = []
    for profile in PROFILES:
        case = encoder_block(profile, tokens=tokens)
        (name,) = case.codes
        batch = 1 if threads == 1 else BATCH
        codes = {name: np.repeat(case.codes[name], batch, axis=0)}
        reals = case.reals.expand(batch, -1, -1).contiguous()
        output = case.graph.output_names[0]
        plan = lower(case.graph, case.profile)
        expected = plan.reference(case.codes)[output]
        made: list[Any] = []

        def call(graph: Any = case.graph, codes: Any = codes, made: Any = made) -> None:
            made[:] = [hwsim.run(graph, codes, threads=threads)[output]]

        call()
        if not all(np.array_equal(one, expected[0]) for one in made[0]):
            raise ValueError(f"{profile}: codes must equal those of the reference kernels")
        field: dict[str, Call] = {"call": call}
        foreign = [one.outputs[0] for one in plan.calls if one.native is None]
        if threads == 1 and not foreign:
            bare = Bare(plan, case.codes)
            bare.walk()
            if not np.array_equal(bare.result(output), expected):
                raise ValueError(f"{profile}: the program's codes must equal the call's")
            field["program"] = bare.walk
        fused = Fused(case.module).eval()
        with torch.inference_mode():
            if not torch.allclose(fused(reals), case.module(reals), atol=1e-4):
                raise ValueError("fused attention must compute the same")
            for form, module in (("as written", case.module), ("fused", fused)):
                for pool in {1, threads}:  # where other work holds a core, one may be faster
                    field[f"{TORCH} {form}, threads {pool}"] = torch_call(module, reals, pool)
            seconds = interleave(field, effort, threads)
        options = [key for key in field if key.startswith(TORCH)]
        seconds[TORCH] = seconds[best_of(seconds, options)]
        medians = {key: Ratio.of(values).median for key, values in seconds.items()}
        for form in ("call", "program"):
            if form not in field:
                continue
            ratio = faster(seconds, form)[TORCH]
            goal = GOAL if threads == 1 else None
            note = f"; reference loops make {len(foreign)} values" if foreign else ""
            rows.append(
                Row(
                    "vit",
                    f"encoder block {tokens} x 192, {profile}, batch {batch}, {form}",
                    threads,
                    seconds_in_words(medians[form]),
                    {TORCH: Figure(ratio.median, ratio.least, ratio.most, goal)},
                    f"reference kernels, byte for byte{note}",
                    medians,
                )
            )
    return rows
