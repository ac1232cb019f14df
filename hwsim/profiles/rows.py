"""How the built-in tables are written down: the same rule for several operators and widths."""

from collections.abc import Iterable, Mapping

from hwsim.ops import Op
from hwsim.profile import OperatorRule

Rows = dict[tuple[Op, int], OperatorRule]

LINEAR = (Op.CONV_2D, Op.DEPTHWISE_CONV_2D, Op.FULLY_CONNECTED, Op.MATMUL)
CLAMPS = (Op.RELU, Op.RELU6, Op.RELU_N1_TO_1, Op.CLIP)


def rows(ops: Iterable[Op], rule: OperatorRule, *widths: int) -> Rows:
    """Return one rule for operators at activation widths, 8 bits unless given."""
    return {(op, width): rule for op in ops for width in widths or (8,)}


def chosen(table: Mapping[tuple[Op, int], OperatorRule], ops: Iterable[Op], width: int) -> Rows:
    """Return the rows of some operators at one width."""
    return {(op, width): table[op, width] for op in ops}
