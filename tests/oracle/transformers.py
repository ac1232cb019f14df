"""An integer graph of profile `ibert`, `ivit` or of a piecewise-linear softmax, every activation.

All but softmax, GELU and LayerNorm is `tests.oracle.hawq`.
"""

import math
from typing import Any

import numpy as np

from tests.oracle import ibert, ivit, pwl
from tests.oracle.hawq import Evaluation


class Ibert(Evaluation):
    """I-BERT's forms."""

    def softmax_row(self, row: np.ndarray) -> Any:
        return ibert.softmax(row.tolist(), self.attrs.beta * self.scale(0), self.out.dtype.bits)

    def gelu(self) -> np.ndarray:
        made = np.zeros(self.out.shape, np.int64)
        scales = self.values[0].quant.scale
        for index in np.ndindex(*self.out.shape):
            scale = scales[index[-1] if len(scales) > 1 else 0]
            value = ibert.i_gelu(int(self.codes[0][index]) - self.zero(0), scale)
            ratio = ibert.gelu_unit(scale) / self.out_scale
            made[index] = self.finish(ibert.dyadic(value, ratio))
        return made

    def layer_norm(self) -> np.ndarray:
        return self.sign_norm()

    def normalize(self, row: list[int]) -> list[int]:
        dtype = self.values[0].dtype
        return ibert.normalize(row, ibert.norm_shift(len(row), dtype.min, dtype.max))

    def sign_norm(self) -> np.ndarray:
        """gamma is a sign and a scale per channel; beta is added to the normalized code."""
        channels = self.codes[0].shape[-1]
        signs, beta = self.codes[1].tolist(), self.bias()
        unit = math.sqrt(channels) * 2.0**-30
        made = []
        for row in self.codes[0].reshape(-1, channels).tolist():
            for c, code in enumerate(self.normalize(row)):
                ratio = self.values[1].quant.scale[c] * unit / self.out_scale
                made.append(self.finish(ibert.dyadic(code * signs[c] + beta[c], ratio)))
        return np.array(made, np.int64).reshape(self.out.shape)


class Ivit(Ibert):
    """I-ViT's forms; its LayerNorm differs in the square root alone."""

    def softmax_row(self, row: np.ndarray) -> Any:
        return ivit.softmax(row.tolist(), self.attrs.beta * self.scale(0), self.out.dtype.bits)

    def gelu(self) -> np.ndarray:
        channels = self.out.shape[-1]
        ratio = self.scale(0) * 2.0**-7 / self.out_scale
        made = []
        for row in (self.codes[0] - self.zero(0)).reshape(-1, channels).tolist():
            made += [self.finish(ibert.dyadic(v, ratio)) for v in ivit.gelu(row, self.scale(0))]
        return np.array(made, np.int64).reshape(self.out.shape)

    def normalize(self, row: list[int]) -> list[int]:
        return ivit.normalize(row)


class Piecewise(Evaluation):
    """QAOF's softmax: one minimax line, 15 fraction and 8 guard bits; HAWQ's arithmetic."""

    segments, uniform, fraction, guard = 1, False, 15, 8

    def softmax_row(self, row: np.ndarray) -> Any:
        lines = pwl.lines(self.segments, uniform=self.uniform)
        scale = self.attrs.beta * self.scale(0)
        table = pwl.integers(lines, scale, self.fraction, self.guard)
        largest = int(row.max())
        exps = [pwl.clip_exp(x - largest, table, self.guard) for x in row.tolist()]
        return pwl.softmax(exps, self.out.dtype.bits)


class PiecewiseEight(Piecewise):
    """Eight segments of one error."""

    segments = 8


class PiecewiseUniform(Piecewise):
    """Eight segments of one width."""

    segments, uniform = 8, True


class ExpTable(Evaluation):
    """The exponential of every code difference, 15 fraction bits, halves up."""

    def softmax_row(self, row: np.ndarray) -> Any:
        scale, largest = self.attrs.beta * self.scale(0), int(row.max())
        exps = [math.floor(math.exp(scale * (x - largest)) * 2**15 + 0.5) for x in row.tolist()]
        return pwl.softmax(exps, self.out.dtype.bits)
