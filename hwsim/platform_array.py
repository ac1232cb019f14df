"""Compute arrays of NPU platforms, beside the block engine: systolic and row-stationary."""

from typing import Any, Literal

from pydantic import Discriminator

from hwsim.description import Table
from hwsim.quantity import Capacity, CyclesPerElement, Elements, WordsPerCycle


class SystolicArray(Table):
    """A grid of multipliers that operands pass through in step.

    Args:
        dataflow: What stays in the grid: outputs, weights or inputs.
        rows: Rows of the grid.
        columns: Columns of the grid.
        double_buffered: Whether the next fold's operands load while a fold works; else folds
            follow each other with load, fill and drain.
        whole_weight_tiles: Whether weights are fetched in tiles of the whole grid, padding
            included.
        output_cycles: What follows the grid: activation, pooling, elementwise operators.
    """

    dataflow: Literal["os", "ws", "is"]
    rows: Elements
    columns: Elements
    double_buffered: bool
    whole_weight_tiles: bool
    output_cycles: CyclesPerElement


class RowStationaryArray(Table):
    """A grid of processing elements that keep a filter row each.

    Args:
        dataflow: The discriminator.
        rows: Rows of the grid: the highest filter.
        columns: Columns of the grid.
        filter_scratchpad: Filter words of an element.
        input_scratchpad: Input words of an element.
        sum_scratchpad: Partial sums of an element.
        mapping_buffer: Part of the global buffer that a mapping may fill.
        filter_link: Filters from buffer to grid.
        input_link: Inputs from buffer to grid.
        sum_link: Partial sums, each way.
        output_cycles: Work that is no multiply-accumulate.
    """

    dataflow: Literal["row_stationary"]
    rows: Elements
    columns: Elements
    filter_scratchpad: Capacity
    input_scratchpad: Capacity
    sum_scratchpad: Capacity
    mapping_buffer: Capacity
    filter_link: WordsPerCycle
    input_link: WordsPerCycle
    sum_link: WordsPerCycle
    output_cycles: CyclesPerElement


BLOCK, SYSTOLIC, ROW_STATIONARY = ARRAY_KINDS = ("block", "systolic", "row_stationary")


def _kind(value: Any) -> str:
    """Return which array a table describes: one without a dataflow is a block engine."""
    table = value if isinstance(value, dict) else getattr(value, "__dict__", {})
    if "dataflow" not in table:
        return BLOCK
    return ROW_STATIONARY if table["dataflow"] == ROW_STATIONARY else SYSTOLIC


ARRAY_KIND = Discriminator(_kind)
