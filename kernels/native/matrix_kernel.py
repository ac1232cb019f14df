"""The loops around a tile: images, panels of columns, rows."""

from functools import cache
from typing import Any

from hwsim.kernels.jit import native

from .memory import int64s
from .tile import Field, Variant, tile

_FIELDS = len(Field)
_X, _X_IMAGE = int(Field.X), int(Field.X_IMAGE)
_WEIGHTS, _WEIGHTS_IMAGE = int(Field.WEIGHTS), int(Field.WEIGHTS_IMAGE)
_BIAS, _BIAS_IMAGE = int(Field.BIAS), int(Field.BIAS_IMAGE)
_OUT, _OUT_IMAGE = int(Field.OUT), int(Field.OUT_IMAGE)
_IMAGES, _ROWS, _COLUMNS = int(Field.IMAGES), int(Field.ROWS), int(Field.COLUMNS)


@cache
def matrix_kernel(variant: Variant) -> Any:
    """Return the kernel of a matrix product; its arguments are `Field`s.

    A panel of weights meets all rows before the next, so that it stays in the nearest cache.
    """
    text, rows = variant.text, variant.shape.rows
    width = variant.shape.vectors * variant.tier.lanes

    def matrix(fields: int) -> None:
        at = int64s(fields, _FIELDS)
        for image in range(at[_IMAGES]):
            x = at[_X] + image * at[_X_IMAGE]
            weights = at[_WEIGHTS] + image * at[_WEIGHTS_IMAGE]
            bias = at[_BIAS] + image * at[_BIAS_IMAGE]
            out = at[_OUT] + image * at[_OUT_IMAGE]
            for column in range(0, at[_COLUMNS], width):
                for row in range(0, at[_ROWS], rows):
                    tile(text, fields, x, weights, bias, out, row, column)

    return native(matrix)


@cache
def depthwise_kernel(variant: Variant) -> Any:
    """Return the kernel of a depthwise convolution; its arguments are `Field`s.

    All channels of some pixels are done before the next pixels: their codes lie side by side.
    """
    text, rows, width = variant.text, variant.shape.rows, variant.tier.lanes

    def depthwise(fields: int) -> None:
        at = int64s(fields, _FIELDS)
        weights, bias = at[_WEIGHTS], at[_BIAS]
        for image in range(at[_IMAGES]):
            x = at[_X] + image * at[_X_IMAGE]
            out = at[_OUT] + image * at[_OUT_IMAGE]
            for row in range(0, at[_ROWS], rows):
                for column in range(0, at[_COLUMNS], width):
                    tile(text, fields, x, weights, bias, out, row, column)

    return native(depthwise)
