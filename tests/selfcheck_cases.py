"""The self-check's generated cases: the integer engine against LiteRT's reference kernels.

`python -m tests.selfcheck_cases generated 2000` draws single-operator models with Hypothesis;
`python -m tests.selfcheck_cases sweeps` feeds every code to every table operator. Both print one
JSON line per operator: {"operator", "run", "skipped", "wrong", "elements", "note"}.
"""

import json
import sys
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, Phase, given, settings

import hwsim
from hwsim.errors import HwsimError
from hwsim.formats.tflite import read_tflite
from tests.litert import LiteRT, LiteRTDied, LiteRTRefused
from tests.strategies import GENERATORS, HOST_LIBM, Case, cases, every_code, single
from tests.tflite_writer import Tensor

SWEEP_SCALES = (1e-4, 1 / 256, 1 / 128, 0.03, 0.0471, 1 / 16, 0.1, 0.25, 1.0, 2.0)
# Powers of two with a path of their own, one that only looks like such, and the general path.
WIDE_SCALES = {
    "LOGISTIC": (2**-12, 2**-11, 2.0**-12 * 1.0006, 4.9431e-4, 3e-5, 1e-8, 0.013, 1.5),
    "TANH": (2**-12, 2**-11, 2**-10, 2.0**-11 * 0.9995, 4.9431e-4, 3e-5, 0.013, 1.5),
    "GELU": (1e-5, 1e-4, 2**-12, 1e-3, 0.01),
    "EXP": (1e-5, 1e-4, 2**-12, 1e-3, 2e-3),
    "RSQRT": (1e-5, 1e-4, 2**-12, 1e-3, 0.01),
}
SWEEP_SHARES = (0.0, 0.25, 0.5, 1.0)  # the zero point as a share of the range


@dataclass
class Tally:
    """Cases of one operator."""

    operator: str
    run: int = 0
    skipped: int = 0
    wrong: int = 0
    elements: int = 0
    note: str = ""

    def line(self) -> str:
        """Return the tally as JSON."""
        return json.dumps(asdict(self))


def judge(litert: LiteRT, tally: Tally, case: Case) -> None:
    """Run one case on both sides and count what differs."""
    model = case.model.to_bytes()
    feed = dict(case.feed)
    if tally.operator == "QUANTIZE_REALS":
        # NaN and infinity are refused; beyond int32 the reference's cast is undefined in C.
        reach = 2.0**30 * case.model.tensors[-1].scale[0]
        feed = {name: np.clip(np.nan_to_num(array), -reach, reach) for name, array in feed.items()}
    try:
        (theirs,) = litert.run(model, [feed], repr(case))
        graph = read_tflite(model, Path(f"{tally.operator}.tflite"))
        ours = hwsim.trace(graph, {name: feed[name] for name in graph.input_names})
    except (LiteRTDied, LiteRTRefused, HwsimError) as error:
        tally.skipped += 1
        tally.note = tally.note or str(error)[:200]
        return
    tally.run += 1
    differing = 0
    for name in (name for node in graph.nodes for name in node.outputs if name in theirs):
        differing += int(np.count_nonzero(ours[name].ravel() != theirs[name].ravel()))
        tally.elements += ours[name].size
    if differing:
        tally.wrong += 1
        tally.note = f"{differing} elements differ in {case}"[:400]


def generated(litert: LiteRT, count: int) -> Iterator[Tally]:
    """Draw `count` cases, spread evenly over the operators."""
    operators = sorted(set(GENERATORS) - HOST_LIBM)
    for index, operator in enumerate(operators):
        share = count * (index + 1) // len(operators) - count * index // len(operators)
        yield drawn(litert, operator, max(share, 1))


def drawn(litert: LiteRT, operator: str, count: int) -> Tally:
    """Judge cases of one operator that Hypothesis draws, the same in every run."""
    tally = Tally(operator)

    @settings(
        max_examples=count, deadline=None, derandomize=True, database=None,
        phases=[Phase.generate], suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(case=cases(operator))
    def compare(case: Case) -> None:
        judge(litert, tally, case)

    compare()
    return tally


def sweeps(litert: LiteRT) -> Iterator[Tally]:
    """Feed all codes of each table operator, at many scales and zero points."""
    for operator in ("LOGISTIC", "TANH", "HARD_SWISH", "GELU"):
        for dtype, lowest in (("int8", -128), ("uint8", 0)):
            tally = Tally(f"{operator} {dtype}, 256 codes")
            for scale in SWEEP_SCALES:
                for share in SWEEP_SHARES:
                    judge(litert, tally, sweep(operator, dtype, lowest, scale, share))
            yield tally
    for operator, scales in WIDE_SCALES.items():
        tally = Tally(f"{operator} int16, 65,536 codes")
        for scale in scales:
            judge(litert, tally, wide_sweep(operator, scale))
        yield tally


def wide_sweep(operator: str, scale: float) -> Case:
    """Return a model of one table operator and every int16 code that it is defined for."""
    drawn = np.arange(-32768, 32768).astype(np.int16).reshape(1, -1)
    if operator == "RSQRT":
        drawn = drawn[:, 32768:]
    out_scale = {"LOGISTIC": 2.0**-15, "TANH": 2.0**-15, "RSQRT": 1e-3 / scale**0.5}
    x = Tensor("x", drawn.shape, "int16", (scale,))
    out = Tensor("out", drawn.shape, "int16", (out_scale.get(operator, scale * 0.7),))
    return single(operator, [x], [out], {"x": drawn})


def sweep(operator: str, dtype: str, lowest: int, scale: float, share: float) -> Case:
    """Return a model of one table operator and all its input codes."""
    x = Tensor("x", (1, 256), dtype, (scale,), (lowest + round(255 * share),))
    out_scale, out_zero_point = {
        "LOGISTIC": (1 / 256, lowest),
        "TANH": (1 / 128, lowest + 128),
        "GELU": (scale * 0.7, lowest + round(255 * (1 - share) * 0.3)),
        "HARD_SWISH": (scale * 0.7, lowest + round(255 * (1 - share) * 0.3)),
    }[operator]
    out = Tensor("out", (1, 256), dtype, (out_scale,), (out_zero_point,))
    return single(operator, [x], [out], {"x": every_code(dtype)})


def main(arguments: list[str]) -> None:
    """Print the tallies that the arguments ask for."""
    warnings.simplefilter("error")
    with LiteRT() as litert:
        tallies: Iterable[Tally]
        match arguments:
            case ["generated", count]:
                tallies = generated(litert, int(count))
            case ["sweeps"]:
                tallies = sweeps(litert)
            case _:
                sys.exit("usage: python -m tests.selfcheck_cases generated COUNT | sweeps")
        for tally in tallies:
            print(tally.line(), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
