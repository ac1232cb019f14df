"""The loops around a tile: images, panels of columns, rows."""

from functools import cache
from typing import Any

from hwsim.kernels.jit import native
from hwsim.profile import Requant

from .memory import int64s
from .target import Tier
from .tile import Codes, Field, Shape, tile

_FIELDS = len(Field)
_X, _X_IMAGE = int(Field.X), int(Field.X_IMAGE)
_OUT, _OUT_IMAGE = int(Field.OUT), int(Field.OUT_IMAGE)
_IMAGES, _ROWS, _COLUMNS = int(Field.IMAGES), int(Field.ROWS), int(Field.COLUMNS)


@cache
def matrix_kernel(tier: Tier, codes: Codes, shape: Shape, rule: Requant) -> Any:
    """Return the kernel of a tile; its arguments are `Field`s."""
    name, size, flip, quads = tier.name, codes.size, int(codes.flip), int(codes.quads)
    rows, vectors, out_size, number = shape.rows, shape.vectors, shape.out_size, int(rule)
    width = vectors * tier.lanes

    def matrix(fields: int) -> None:
        at = int64s(fields, _FIELDS)
        for image in range(at[_IMAGES]):
            x = at[_X] + image * at[_X_IMAGE]
            out = at[_OUT] + image * at[_OUT_IMAGE]
            for column in range(0, at[_COLUMNS], width):
                for row in range(0, at[_ROWS], rows):
                    tile(
                        name, size, flip, quads, rows, vectors, out_size, number,
                        fields, x, out, row, column,
                    )  # fmt: skip

    return native(matrix)
