"""The circuits that compute one layer of a dataflow design, at every folding.

A layer that multiplies is a matrix unit of PE x SIMD products per cycle: dot products, weight
memory, control, and requantizers for the outputs of a cycle. A softmax or a normalization is a
number of copies of a measured unit.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from math import ceil, log2
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hwsim.platform import FpgaPlatform
from hwsim.tables import Option
from hwsim.workload import Layer, Work

from .luts import adder_tree_bits, xc7
from .packing import Packing, packing
from .softmax_units import softmax_unit

Ints = NDArray[np.int64]
_PASSES = {Work.SOFTMAX: 3, Work.NORM: 2}  # over the row: maximum, sum, output; sums, output


class Need(NamedTuple):
    """Resources of a part of a circuit, one entry per folding.

    Args:
        lc: LUT sites, rounded up.
        dsp: Multiplier blocks.
        bram: Memory blocks of 18 Kib.
        carry4: Carry chains of four bits, of which each lies in a slice of four sites; no budget
            counts them, because how they share slices with other logic was not measured.
        ff: Flip-flops of the synthesized circuit; None where the part has registers that no
            synthesis or formula counts.
    """

    lc: Ints
    dsp: Ints
    bram: Ints
    carry4: Ints
    ff: Ints | None = None


@dataclass(frozen=True)
class Foldings:
    """Every way to build one layer.

    Args:
        cycles: Cycles per inference, by folding.
        parts: Needs by part.
        labels: How it is folded, by name: "pe", "simd" and flags, or "copies".
    """

    cycles: Ints
    parts: Mapping[str, Need]
    labels: Mapping[str, Ints]

    @cached_property
    def ff(self) -> Ints:
        """Summed flip-flops of the parts that state them."""
        total = np.zeros_like(self.cycles)
        for part in self.parts.values():
            if part.ff is not None:
                total = total + part.ff
        return total

    @cached_property
    def need(self) -> Ints:
        """Summed needs: shape (foldings, 3), columns lc, dsp, bram."""
        rows = [np.stack([part.lc, part.dsp, part.bram], axis=1) for part in self.parts.values()]
        total: Ints = np.sum(rows, axis=0)
        return total


@dataclass(frozen=True, slots=True)
class Build:
    """What a platform says about circuits; hashable."""

    wide_bits: int
    narrow_bits: int
    requantizer: str
    multiplier_bits: int
    softmax: tuple[str, str]
    control: int

    @classmethod
    def of(cls, platform: FpgaPlatform) -> "Build":
        """Return the platform's choices."""
        block, design = platform.dsp_block, platform.dataflow
        return cls(
            block.wide_bits,
            block.narrow_bits,
            design.requantizer,
            design.multiplier_bits,
            (design.softmax_exp, design.softmax_normalizer),
            design.control.count,
        )


class Shape(NamedTuple):
    """What of a layer decides its circuit.

    `shared`: its outputs read one input, so that weights may share a DSP block.
    """

    work: Work
    mw: int
    mh: int
    vectors: int
    weight_bits: int
    activation_bits: int
    accumulator_bits: int
    stored: bool
    shared: bool
    rows: int
    elements: int
    macs: int


def shape_of(layer: Layer, option: Option) -> Shape:
    """Return the shape of a layer at an option.

    The outputs of all groups stand side by side, so that their weights are stored once each.
    """
    width = layer.out_shape[-1] if layer.out_shape else 1
    stored = layer.weight_elements > 0
    w = option.weight_bits if stored else option.activation_bits
    return Shape(
        work=layer.work,
        mw=layer.k,
        mh=layer.groups * layer.n,
        vectors=layer.m,
        weight_bits=w,
        activation_bits=option.activation_bits,
        accumulator_bits=_accumulator_bits(layer, w + option.activation_bits),
        stored=stored,
        shared=layer.groups == 1,
        rows=max(layer.out_elements // max(width, 1), 1),
        elements=layer.out_elements,
        macs=layer.macs,
    )


def _accumulator_bits(layer: Layer, product_bits: int) -> int:
    """Return the width that no sum of products leaves, or the narrower one that is proved.

    Source: FINN 39f0c9a, lut_estimation: alpha = log2(mw) + product bits - 2 for signed inputs.
    """
    if not layer.k:
        return layer.accumulator_bits
    alpha = log2(layer.k) + product_bits - 2
    return min(layer.accumulator_bits, ceil(alpha + log2(1 + 2**-alpha) + 1))


def has_circuit(layer: Layer) -> bool:
    """Return whether a layer's resources are known: it multiplies, or a unit was measured."""
    return layer.macs > 0 or layer.work in _PASSES


@cache
def foldings(shape: Shape, build: Build) -> Foldings:
    """Return every folding of a layer.

    Raises:
        InputError: If the platform names a softmax that was not measured.
    """
    if shape.work in _PASSES:
        return _streaming(shape, build)
    return _matrix(shape, build)


@cache
def divisors(number: int) -> tuple[int, ...]:
    """Return the divisors of a number, rising."""
    small = [d for d in range(1, int(number**0.5) + 1) if number % d == 0]
    return tuple(sorted({*small, *(number // d for d in small)}))


def _ints(values: object) -> Ints:
    """Return counts rounded up to whole ones."""
    return np.ceil(np.asarray(values, dtype=np.float64) - 1e-9).astype(np.int64)


def _streaming(shape: Shape, build: Build) -> Foldings:
    """Return a softmax or normalization: copies of a unit that takes one element per cycle."""
    copies = np.array(divisors(shape.rows), dtype=np.int64)
    found = []
    for dsp in (False, True):
        if shape.work is Work.SOFTMAX:
            exp, normalizer = build.softmax
            if dsp and normalizer != "reciprocal_sequential_multiply":
                continue  # not synthesized
            logic = softmax_unit(exp, normalizer, dsp_allowed=dsp).logic
        else:
            logic = xc7().layer_norm[dsp]
        found.append((logic.lc, logic.dsp, logic.carry4, logic.ff))
    n = len(copies)
    all_copies = np.tile(copies, len(found))
    lc, blocks, carry4, ff = (
        np.repeat(counts, n) * all_copies for counts in zip(*found, strict=True)
    )
    cycles = -(-shape.elements * _PASSES[shape.work] // all_copies)
    name = "softmax" if shape.work is Work.SOFTMAX else "layer norm"
    need = Need(_ints(lc), _ints(blocks), np.zeros_like(all_copies), _ints(carry4), _ints(ff))
    return Foldings(cycles, {name: need}, {"copies": all_copies})


def _matrix(shape: Shape, build: Build) -> Foldings:
    """Return a matrix unit at all divisors, multipliers and memories.

    A depthwise unit raises SIMD only when all channels run at once, as FINN does.
    """
    w, a, acc = shape.weight_bits, shape.activation_bits, shape.accumulator_bits
    table = xc7()
    packed = packing(w, a, build.wide_bits, build.narrow_bits)
    if not shape.shared:
        packed = Packing(min(packed.products, 1), 0, 0)
    pes, simds = divisors(shape.mh), divisors(shape.mw)
    dsp_ways = (0, 1) if packed.products else (0,)
    memories = (0, 1) if shape.stored else (0,)
    grid = np.meshgrid(
        np.arange(len(simds)), np.array(pes), dsp_ways, (0, 1), memories, indexing="ij"
    )
    at, pe, dsp, requantize_dsp, distributed = (axis.ravel().astype(np.int64) for axis in grid)
    simd = np.array(simds, dtype=np.int64)[at]
    if shape.work is Work.DEPTHWISE:
        keep = (simd == 1) | (pe == shape.mh)
        at, pe, dsp, requantize_dsp, distributed, simd = (
            axis[keep] for axis in (at, pe, dsp, requantize_dsp, distributed, simd)
        )
    depth = shape.mw * shape.mh // (pe * simd)

    measured = [table.dot_product(w, a, n, acc) for n in simds]
    dots = np.array([logic.lc for logic in measured])[at]
    chains = np.array([logic.carry4 for logic in measured])[at]
    trees = np.array([adder_tree_bits(w + a, n) + acc for n in simds])[at]
    blocks = -(-pe // max(packed.products, 1)) * simd
    fixes = packed.correction_lut * (pe // max(packed.products, 1)) * simd
    dot = Need(
        _ints(np.where(dsp == 1, pe * trees + fixes, pe * dots)),
        np.where(dsp == 1, blocks, 0),
        np.zeros_like(pe),
        _ints(pe * np.where(dsp == 1, trees / 4, chains)),
        pe * acc,  # the accumulators; multipliers and adders are combinational, in DSP blocks too
    )

    if shape.stored:
        luts = pe * simd * w * -(-depth // 64)
        memory = Need(
            np.where(distributed == 1, luts, 0),
            np.zeros_like(pe),
            np.where(distributed == 1, 0, block_memory(pe * simd * w, depth)),
            np.zeros_like(pe),
        )
    else:
        memory = Need(*(np.zeros_like(pe),) * 5)

    copies = -(-pe * simd // shape.mw)
    if build.requantizer == "dyadic":
        ways = [table.dyadic(acc, build.multiplier_bits, dsp=way) for way in (False, True)]
    else:
        ways = [table.power_of_two(acc)] * 2
    requantize = Need(
        _ints(copies * np.array([way.lc for way in ways])[requantize_dsp]),
        copies * np.array([int(way.dsp) for way in ways])[requantize_dsp],
        np.zeros_like(pe),
        _ints(copies * np.array([way.carry4 for way in ways])[requantize_dsp]),
        _ints(copies * np.array([way.ff for way in ways])[requantize_dsp]),
    )
    zero = np.zeros_like(pe)
    control = Need(zero + build.control, zero, zero, zero)
    parts = {
        "dot products": dot,
        "weights": memory,
        "requantize": requantize,
        "control": control,
    }
    labels = {"pe": pe, "simd": simd, "dsp": dsp, "distributed": distributed}
    return Foldings(depth * shape.vectors, parts, labels)


def block_memory(width: Ints, depth: Ints) -> Ints:
    """Return memory blocks of 18 Kib for words of `width` bits.

    Source: FINN 39f0c9a, bram_estimation; `finn.MatrixUnit.bram_18k` for arrays.
    """
    conditions = [width <= 1, width <= 2, width <= 4, width <= 9, (width <= 18) | (depth > 512)]
    counts = [
        -(-depth // 16384),
        -(-depth // 8192),
        -(-depth // 4096),
        -(-depth // 2048),
        -(-depth // 1024) * -(-width // 18),
    ]
    return np.select(conditions, counts, -(-depth // 512) * -(-width // 36)).astype(np.int64)
