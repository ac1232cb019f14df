"""A matrix product on a systolic array: closed forms of cycles and of on-chip accesses.

An array of R rows and C columns works on one *fold* at a time: the part of the product that fits
it. Which two of the sizes M, N, K are folded, and which one streams through, is the dataflow.
"""

from dataclasses import dataclass
from enum import Enum
from math import ceil


class Dataflow(Enum):
    """Which operand stays in the processing elements."""

    OUTPUT = "os"
    WEIGHT = "ws"
    INPUT = "is"


@dataclass(frozen=True, slots=True)
class Gemm:
    """A matrix product: M output pixels, N output channels, reduction K."""

    m: int
    n: int
    k: int

    @property
    def macs(self) -> int:
        """Multiply-accumulates."""
        return self.m * self.n * self.k


@dataclass(frozen=True, slots=True)
class Systolic:
    """An array of processing elements, one MAC each."""

    rows: int
    columns: int
    dataflow: Dataflow


@dataclass(frozen=True, slots=True)
class Folds:
    """How a product lies on an array.

    Args:
        along_rows: The size that the rows share out.
        along_columns: The size that the columns share out.
        streamed: The size that passes through in time.
        row_folds: Parts of `along_rows`.
        column_folds: Parts of `along_columns`.
        cycles: Cycles of one fold: fill, stream, drain; operands load first where one stays.
    """

    along_rows: int
    along_columns: int
    streamed: int
    row_folds: int
    column_folds: int
    cycles: int


def folds(array: Systolic, gemm: Gemm) -> Folds:
    """Return the folds of a product.

    Source: SCALE-Sim 3.0.0, systolic_compute_os.py, _ws.py, _is.py.
    """
    m, n, k = gemm.m, gemm.n, gemm.k
    rows, columns, streamed = {
        Dataflow.OUTPUT: (m, n, k),
        Dataflow.WEIGHT: (k, n, m),
        Dataflow.INPUT: (k, m, n),
    }[array.dataflow]
    load = 0 if array.dataflow is Dataflow.OUTPUT else array.rows
    return Folds(
        along_rows=rows,
        along_columns=columns,
        streamed=streamed,
        row_folds=ceil(rows / array.rows),
        column_folds=ceil(columns / array.columns),
        cycles=load + array.rows + array.columns + streamed - 2,
    )


def cycles(array: Systolic, gemm: Gemm) -> int:
    """Return the cycles of a product that never waits for memory."""
    found = folds(array, gemm)
    return found.row_folds * found.column_folds * found.cycles - 1


def mapping_efficiency(array: Systolic, gemm: Gemm) -> float:
    """Return the occupied part of the array, averaged over the folds."""
    found = folds(array, gemm)
    slots = found.row_folds * array.rows * found.column_folds * array.columns
    return found.along_rows * found.along_columns / slots


@dataclass(frozen=True, slots=True)
class Accesses:
    """Words read of both operands and written of the result."""

    input_reads: int
    weight_reads: int
    output_writes: int


def sram_accesses(array: Systolic, gemm: Gemm, *, accumulators: bool = False) -> Accesses:
    """Return the words that the array exchanges with its buffers.

    Args:
        array: The array.
        gemm: The product.
        accumulators: Whether partial sums stay in accumulators behind the array, as in TPU v1,
            until an output is whole. Else WS and IS write one per output and row fold, as
            SCALE-Sim has it.
    """
    found = folds(array, gemm)
    m, n, k = gemm.m, gemm.n, gemm.k
    if array.dataflow is Dataflow.OUTPUT:
        return Accesses(m * k * found.column_folds, k * n * found.row_folds, m * n)
    output = m * n * (1 if accumulators else found.row_folds)
    if array.dataflow is Dataflow.WEIGHT:
        return Accesses(m * k * found.column_folds, k * n, output)
    return Accesses(m * k, k * n * found.column_folds, output)
