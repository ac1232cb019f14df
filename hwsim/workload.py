"""What a platform has to do for one inference: the graph, seen by an energy model.

A unit owns its weights and the activation tensors that its multiply-accumulates read: the width
of those tensors is its choice, so it pays for their write and for every read. That makes cost
exactly additive over units, whatever their neighbors chose. Work without a choice (pooling,
softmax, the network's outputs) stands in units of its own with fixed widths.
"""

from dataclasses import dataclass
from enum import Enum

from hwsim.tables import Option


class Work(Enum):
    """What kind of arithmetic a layer is."""

    CONV = "conv"
    DEPTHWISE = "depthwise"
    FULLY_CONNECTED = "fully_connected"
    MATMUL = "matmul"
    RECURRENT = "recurrent"
    ELEMENTWISE = "elementwise"
    POOL = "pool"
    REDUCE = "reduce"
    SOFTMAX = "softmax"
    NORM = "norm"
    TABLE = "table"
    MOVE = "move"


@dataclass(frozen=True, slots=True)
class Layer:
    """One node as a GEMM (M x N x K, repeated `groups` times) plus what an array must know.

    Args:
        node: The node's name.
        work: Its kind.
        macs: groups * m * n * k for accumulating kinds, else 0.
        groups: Independent GEMMs: channels of a depthwise convolution, heads of a matmul.
        m: Output pixels (or rows) of one GEMM, batch 1.
        n: Output channels of one GEMM.
        k: Reduction length.
        kernel: (height, width) of the window, (1, 1) where there is none.
        out_shape: Shape of the output, NHWC or (..., channels), batch 1.
        weight_elements: Stored weight codes; 0 where both operands are activations.
        bias_elements: Stored biases, 32 bits each.
        accumulator_bits: Width of the accumulator, proved by `verify` or the profile's.
        in_shape: Shape of the first input, batch 1; () where nobody stated it.
        stride: (height, width) of the window's steps.
        order: Its place in the network's order of execution.
        linear_in: Whether the input lies as it crosses the network's border or a reshape, so that
            the platform is not free to choose its layout.
        linear_out: The same of the output.
        operator: The node's row in the table of operators, as "MUL"; "" where nobody stated it.
        rides: Whether it is a table alone behind another layer, whose output stage can hold it.
        encoded_weight_bits: Stored size of the weights at their stated width after the platform's
            compression, where that is known; else the packed width counts.
        dilation: (height, width) between the window's taps.
        batch: Inferences that it computes together, which m holds.
    """

    node: str
    work: Work
    macs: int
    groups: int
    m: int
    n: int
    k: int
    kernel: tuple[int, int]
    out_shape: tuple[int, ...]
    weight_elements: int
    bias_elements: int
    accumulator_bits: int = 32
    in_shape: tuple[int, ...] = ()
    stride: tuple[int, int] = (1, 1)
    order: int = 0
    linear_in: bool = False
    linear_out: bool = False
    operator: str = ""
    rides: bool = False
    encoded_weight_bits: int | None = None
    dilation: tuple[int, int] = (1, 1)
    batch: int = 1

    @property
    def out_elements(self) -> int:
        """Number of output codes."""
        product = 1
        for size in self.out_shape:
            product *= size
        return product


@dataclass(frozen=True, slots=True)
class Tensor:
    """An activation tensor and how often one inference touches it.

    Args:
        name: The value's name.
        elements: Codes, batch 1.
        reads: Times that a fused group reads it.
        writes: Times that it is written; 0 for the network's inputs.
        bits: Its width where nobody chooses it, else None.
        is_io: Whether it is an input or output of the network (it crosses the chip's border).
        alive: Orders of the first and the last layer during which it must be kept, where stated.
        storage: Tensors that only data movement separates share this name, and one place; "" is
            a place of its own.
    """

    name: str
    elements: int
    reads: int
    writes: int
    bits: int | None = None
    is_io: bool = False
    alive: tuple[int, int] | None = None
    storage: str = ""


@dataclass(frozen=True, slots=True)
class Unit:
    """What gets one choice of bits, or a fixed piece of work.

    Args:
        name: Name of the first layer's node.
        layers: The nodes it computes, in graph order.
        tensors: The activation tensors it owns.
        native: The option that the graph itself states (an integer graph), else None.
        has_choice: False for work that no option changes.
        at_border: Whether it reads a network input or makes a network output ("first or last").
    """

    name: str
    layers: tuple[Layer, ...]
    tensors: tuple[Tensor, ...]
    native: Option | None = None
    has_choice: bool = True
    at_border: bool = False

    @property
    def macs(self) -> int:
        """Multiply-accumulates per inference."""
        return sum(layer.macs for layer in self.layers)

    @property
    def weight_elements(self) -> int:
        """Stored weight codes."""
        return sum(layer.weight_elements for layer in self.layers)

    @property
    def bias_elements(self) -> int:
        """Stored biases."""
        return sum(layer.bias_elements for layer in self.layers)
