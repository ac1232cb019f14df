"""One layer as hardware sees it: ports full of words, and requantizers between them."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from hwsim.attributes import Attrs
from hwsim.profile import Requant
from hwsim.quant import FloatType, IntType, QuantParams


class Role(Enum):
    """What a port is to the layer.

    * INPUT, OUTPUT: activations, in the order of the operator's operands.
    * CONSTANT: part of the model: weights, biases, tables, zero points, multipliers, shifts.
    * INNER: made on the way: accumulators, and the rows of a requantizer that each line takes.
    """

    INPUT = "input"
    OUTPUT = "output"
    CONSTANT = "constant"
    INNER = "inner"


@dataclass(frozen=True)
class Port:
    """Words of one width, row-major.

    Args:
        name: File stem, unique in the layer.
        role: What it is to the layer.
        words: Integers or floats.
        dtype: Width and sign of a word.
        value: Name of the graph's value that the words are, or "".
        quant: What the words mean, where they are codes.
    """

    name: str
    role: Role
    words: NDArray[np.generic]
    dtype: IntType | FloatType
    value: str = ""
    quant: QuantParams | None = None


@dataclass(frozen=True)
class Stage:
    """A requantizer: line i of `accumulator` becomes line i of `code`.

    The row of multiplier and right shift that line i uses is i modulo their number, or line i of
    `select` where there is one.

    Args:
        name: "" for the layer's own, else which of several.
        requant: Rounding rule.
        fraction: Fraction bits of the multiplier: code = acc * multiplier / 2**(fraction + shift).
        zero_point: Added after scaling.
        qmin: Smallest code.
        qmax: Largest code.
        accumulator: Name of the port.
        code: Name of the port.
        factors: Names of the ports of (multiplier, right_shift), or of (ratio,) where the rule
            multiplies by a float, or of none where it does not multiply.
        select: Name of the port, or None.
    """

    name: str
    requant: Requant
    fraction: int
    zero_point: int
    qmin: int
    qmax: int
    accumulator: str
    code: str
    factors: tuple[str, ...]
    select: str | None


@dataclass(frozen=True)
class Layer:
    """A node with every word that flows through it.

    Args:
        name: The node's; any text.
        folder: Its folder in a trace; see `folder_name`.
        operator: Its operator.
        method: How the profile computes the operator.
        attrs: Its attributes.
        numbers: Integer constants that are no words of a memory, by name.
        ports: Every port by name.
        stages: Its requantizers.
    """

    name: str
    folder: str
    operator: str
    method: str
    attrs: Attrs
    numbers: Mapping[str, int]
    ports: Mapping[str, Port]
    stages: tuple[Stage, ...]

    def of_role(self, role: Role) -> tuple[Port, ...]:
        """Return the ports of a role, in order."""
        return tuple(port for port in self.ports.values() if port.role is role)


def folder_name(index: int, name: str, operator: str) -> str:
    """Return a folder's name that every file system and Verilog take, unique by its index.

    A model's names may hold any character, be as long as a page, or differ by case alone.
    """
    plain = "".join(c if c.isascii() and c.isalnum() else " " for c in name.lower())
    words = "_".join(plain.split())[-32:].strip("_")
    return f"{index:04d}_{words or operator}"
