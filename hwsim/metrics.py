"""What a changed network's outputs are compared by; smaller is better.

Each metric adds up over batches of inputs, so that no output has to be kept.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsim.errors import InputError
from hwsim.graph import Graph
from hwsim.ops import Op

Reals = NDArray[np.floating[Any]]
Labels = NDArray[np.integer[Any]]


@dataclass(frozen=True, slots=True)
class Outputs:
    """A network's outputs on some inputs.

    Args:
        reals: By output name, in graph order; the first one holds the classes.
        are_shares: Whether the first output is a softmax's, not logits.
        labels: Classes of the inputs, if they are known.
    """

    reals: Mapping[str, Reals]
    are_shares: bool
    labels: Labels | None = None

    @property
    def classes(self) -> Reals:
        """The first output."""
        return next(iter(self.reals.values()))


def _squares(full: Outputs, changed: Outputs) -> float:
    total = 0.0
    for name, before in full.reals.items():
        error = changed.reals[name].astype(np.float64) - before
        total += float((error * error).sum())
    return total


def _divergence(full: Outputs, changed: Outputs) -> float:
    """Return the Jensen-Shannon divergence of each input's classes, summed; natural logarithm.

    JSD = KL(P || M) / 2 + KL(Q || M) / 2 with M = (P + Q) / 2. Source: sources.md, A.
    """
    p, q = _shares(full), _shares(changed)
    m = (p + q) / 2
    terms = (_terms(p, m) + _terms(q, m)) / 2
    # Rounding must not push a divergence below that of equal distributions.
    return float(np.maximum(terms.sum(axis=-1), 0.0).reshape(len(p), -1).mean(axis=1).sum())


def _shares(outputs: Outputs) -> Reals:
    scores = outputs.classes.astype(np.float64)
    if not outputs.are_shares:
        scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
    scores = np.maximum(scores, 0.0)
    total = scores.sum(axis=-1, keepdims=True)
    # A coarse softmax may round every class to 0: it prefers none.
    return np.where(total > 0, scores / np.where(total > 0, total, 1.0), 1.0 / scores.shape[-1])


def _terms(p: Reals, m: Reals) -> Reals:
    present = p > 0
    return p * np.log(np.where(present, p, 1.0) / np.where(present, m, 1.0))


def _lost(full: Outputs, changed: Outputs) -> float:
    """Return correct answers lost, or answers changed where no label says which are correct."""
    before, after = full.classes.argmax(axis=1), changed.classes.argmax(axis=1)
    if full.labels is None:
        return float((before != after).sum())
    return float((before == full.labels).sum()) - float((after == full.labels).sum())


@dataclass(frozen=True, slots=True)
class Metric:
    """How much outputs changed.

    Args:
        add: What a batch adds: unchanged and changed outputs to a number.
        finish: The score of a sum over so many inputs.
        of_classes: Whether the first output must be (inputs, classes).
    """

    add: Callable[[Outputs, Outputs], float]
    finish: Callable[[float, int], float]
    of_classes: bool = False


METRICS: Mapping[str, Metric] = MappingProxyType(
    {
        "output_l2": Metric(_squares, lambda total, inputs: float(np.sqrt(total))),
        "jsd": Metric(_divergence, lambda total, inputs: total / inputs),
        "top1": Metric(_lost, lambda total, inputs: total / inputs, of_classes=True),
    }
)


def ends_in_softmax(graph: Graph) -> bool:
    """Whether the first output is a softmax's."""
    maker = graph.producer.get(graph.output_names[0])
    return maker is not None and maker.op is Op.SOFTMAX


def check_classes(graph: Graph, metric: str, labels: Any, inputs: int) -> Labels | None:
    """Return labels as an array, having refused what a metric cannot count.

    Raises:
        InputError: If labels are no classes of as many inputs, come with a metric that has no use
            for them, or the first output is not one row of classes per input.
    """
    shape = graph.outputs[0].shape
    if metric in METRICS and METRICS[metric].of_classes and len(shape) != 2:
        raise InputError(
            f"{metric} must have a first output of shape (inputs, classes), not {shape}"
        )
    if labels is None:
        return None
    if metric != "top1":
        raise InputError(f"labels must be given to top1 alone, not to {metric}")
    array = np.asarray(labels)
    if array.dtype.kind not in "iu" or array.shape != (inputs,):
        raise InputError(
            f"labels must be integers, one per input ({inputs}), not {array.dtype} "
            f"of shape {array.shape}"
        )
    low, high = int(array.min(initial=0)), int(array.max(initial=0))
    if low < 0 or high >= shape[1]:
        raise InputError(f"labels must be in [0, {shape[1] - 1}], not [{low}, {high}]")
    return array


# A float32 has no better signal-to-noise ratio; equal values would otherwise have an infinite one.
_BEST_DB = 20 * 24 * float(np.log10(2.0))


@dataclass(frozen=True, slots=True)
class Power:
    """Sums of squares of a signal and of what quantization added to it."""

    signal: float = 0.0
    noise: float = 0.0

    def __add__(self, other: "Power") -> "Power":
        """Return the sums over both."""
        return Power(self.signal + other.signal, self.noise + other.noise)

    @classmethod
    def of(cls, reals: Reals, quantized: Reals) -> "Power":
        """Return the sums over one array."""
        exact = reals.astype(np.float64)
        error = quantized.astype(np.float64) - exact
        return cls(float((exact * exact).sum()), float((error * error).sum()))

    @property
    def sqnr_db(self) -> float:
        """10 log10(signal / noise), within what float32 can express."""
        if self.noise <= 0:
            return _BEST_DB
        if self.signal <= 0:
            return -_BEST_DB
        ratio = 10 * float(np.log10(self.signal) - np.log10(self.noise))
        return max(-_BEST_DB, min(_BEST_DB, ratio))


def lost_db(unit_reads: Sequence[Power], unit_makes: Sequence[Power]) -> float:
    """Return the dB of signal-to-noise ratio lost between what a unit reads and what it makes.

    This is minus QuantuneV2's SQNR delta, whose smaller values are worse. Source: sources.md, C.
    """
    return sum(unit_reads, Power()).sqnr_db - sum(unit_makes, Power()).sqnr_db
