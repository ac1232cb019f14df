"""Fixed-point format of the integer LayerNorm, shared by the quantizer and the kernel."""

# |normalized| <= sqrt(channels) <= 64, so 7 + 10 bits times a 16-bit gamma stay inside 32 bits.
FRACTION_BITS = 10


def epsilon_code(epsilon: float, scale: float, channels: int) -> int:
    """Return LayerNorm's epsilon in units of channels**2 * scale**2, at least 1.

    The kernel's variance is channels**2 times that of the codes; 1 keeps a constant row finite.
    """
    return max(round(epsilon * channels * channels / (scale * scale)), 1)
