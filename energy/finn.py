"""Resources and cycles of one FINN matrix unit, exactly as FINN 39f0c9a estimates them.

These are FINN's own formulas, their quirks included: an RTL unit estimates 0 LUT, deep embedded
weights count in both BRAM and URAM.
"""

from dataclasses import dataclass
from math import ceil, log2
from typing import Literal

MemMode = Literal["internal_decoupled", "internal_embedded", "external"]
RamStyle = Literal["auto", "block", "distributed", "ultra"]

_SHALLOW = 128  # weight memories up to this depth become LUTs when embedded


@dataclass(frozen=True, slots=True)
class MatrixUnit:
    """A matrix-vector unit (MVAU), or a vector-vector unit (VVAU) of a depthwise convolution.

    Args:
        mw: Reduction length: matrix width, or the window's size of a VVAU.
        mh: Outputs: matrix height, or channels of a VVAU.
        pe: Outputs computed at once; divides `mh`.
        simd: Inputs of each computed at once; divides `mw`.
        vectors: Input vectors per inference: output pixels.
        weight_bits: Width of a weight; 1 for BIPOLAR.
        activation_bits: Width of an input; 1 for BIPOLAR.
        activation_signed: Whether inputs are signed.
        accumulator_bits: Width of the declared accumulator type.
        output_bits: Width of the thresholded output; None without an activation.
        depthwise: Whether it is a VVAU.
        dsp: Whether multipliers are DSP blocks.
        rtl: Whether it is the RTL core instead of the HLS one.
        mem_mode: Where weights stand.
        ram_style: What weight memory is made of.
        thresholds_distributed: Whether threshold memory is made of LUTs.
    """

    mw: int
    mh: int
    pe: int
    simd: int
    vectors: int
    weight_bits: int
    activation_bits: int
    activation_signed: bool = True
    accumulator_bits: int = 32
    output_bits: int | None = None
    depthwise: bool = False
    dsp: bool = False
    rtl: bool = False
    mem_mode: MemMode = "internal_decoupled"
    ram_style: RamStyle = "auto"
    thresholds_distributed: bool = False

    @property
    def weight_depth(self) -> int:
        """Words of the weight memory: one per step of a vector."""
        return self.mw * self.mh // (self.pe * self.simd)

    @property
    def cycles(self) -> int:
        """Cycles per inference."""
        return self.weight_depth * self.vectors

    @property
    def lut(self) -> int:
        """Look-up tables.

        Source: FINN 39f0c9a, lut_estimation of MVAU_hls and VVAU_hls. Oracle: 83 rows made by
        executing FINN's functions.
        """
        if self.rtl:
            return 0
        width = self.weight_bits + self.activation_bits
        multiplier = 0 if self.dsp else self.simd * (2 * ceil(width / 6) - 1) * width
        adder_tree = width * (2 * self.simd - 1)
        alpha = log2(self.mw) + width - 1 - int(self.activation_signed)
        accumulator = min(self.accumulator_bits, ceil(alpha + log2(1 + 2**-alpha) + 1))
        threshold = comparator = 0.0
        if self.output_bits is not None and (self.thresholds_distributed or self.depthwise):
            levels = (2**self.output_bits - 1) * accumulator
            depth = self.mh / self.pe / 64
            threshold = levels * (depth if self.depthwise else ceil(depth))
            comparator = levels
        per_output = multiplier + adder_tree + accumulator + threshold + comparator
        weights = 0
        if self._embedded_in_luts or self._distributed:
            weights = self.pe * self.simd * self.weight_bits * ceil(self.weight_depth / 64)
        return int(300 + 1.1 * (self.pe * per_output) + weights)

    @property
    def dsp_blocks(self) -> int:
        """DSP48 blocks.

        Source: FINN 39f0c9a, dsp_estimation; the RTL formula ignores operand widths.
        """
        if not self.dsp:
            return 0
        if self.rtl:
            return ceil(self.pe / 4) * self.simd
        return self.pe * self.simd * ceil((self.weight_bits + self.activation_bits) / 48)

    @property
    def dsp58_blocks(self) -> int:
        """DSP58 blocks of an RTL unit on a Versal part. Source: as `dsp_blocks`."""
        return self.pe * ceil(self.simd / 3)

    @property
    def bram_18k(self) -> int:
        """Memory blocks of 18 Kib. Source: FINN 39f0c9a, bram_estimation."""
        if self._distributed or self.ram_style == "ultra" or self.mem_mode == "external":
            return 0
        if self._embedded_in_luts or (self.depthwise and self.weight_depth <= _SHALLOW):
            return 0
        width, depth = self._word_bits, self.weight_depth
        for narrow, words in ((1, 16384), (2, 8192), (4, 4096), (9, 2048)):
            if width <= narrow:
                return ceil(depth / words)
        if width <= 18 or depth > 512:
            return ceil(depth / 1024) * ceil(width / 18)
        return ceil(depth / 512) * ceil(width / 36)

    @property
    def uram(self) -> int:
        """UltraRAM blocks. Source: FINN 39f0c9a, uram_estimation."""
        embedded = self.mem_mode == "internal_embedded" and self.weight_depth > _SHALLOW
        if self.ram_style != "ultra" and not embedded:
            return 0
        return ceil(self._word_bits / 72) * ceil(self.weight_depth / 4096)

    @property
    def _word_bits(self) -> int:
        return self.simd * self.weight_bits * self.pe

    @property
    def _distributed(self) -> bool:
        return self.mem_mode == "internal_decoupled" and self.ram_style == "distributed"

    @property
    def _embedded_in_luts(self) -> bool:
        return self.mem_mode == "internal_embedded" and self.weight_depth <= _SHALLOW
