"""Fixed-point formats of the integer norms, shared by the quantizer and the kernels."""

# |normalized| <= sqrt(channels) <= 64, so 7 + 10 bits times a 16-bit gamma stay inside 32 bits.
FRACTION_BITS = 10
# A normalized code of I-BERT and I-ViT is in units of sqrt(channels) / 2**30.
RECIPROCAL_BITS = 30
_SQUARES_BITS = 32


def epsilon_code(epsilon: float, scale: float, channels: int) -> int:
    """Return LayerNorm's epsilon in units of channels**2 * scale**2, at least 1.

    The kernel's variance is channels**2 times that of the codes; 1 keeps a constant row finite.
    """
    return max(round(epsilon * channels * channels / (scale * scale)), 1)


def overflow_shift(channels: int, span: int) -> int:
    """Return the least right shift of deviations that keeps their squares' sum below 2**32.

    I-BERT raises it on calibration data; this one holds for every row of codes `span` apart.
    """
    shift = 0
    while channels * (-(-span >> shift)) ** 2 >= 1 << _SQUARES_BITS:
        shift += 1
    return shift
