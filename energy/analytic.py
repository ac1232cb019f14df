"""Energy by ratio: MACs with the product of the widths, memory with the width."""

from collections.abc import Sequence
from dataclasses import replace

from hwsim.errors import InputError
from hwsim.platform import AnalyticPlatform
from hwsim.tables import Option, UnitCost
from hwsim.workload import Unit

from .traffic import FIXED, traffic_of

LEVEL = "memory"


def rows(
    platform: AnalyticPlatform,
    unit: Unit,
    options: Sequence[Option | None],
    chosen: Sequence[Option],
) -> list[UnitCost]:
    """Return the cost of a unit at every option.

    The formula knows one width per configuration: in the energy, whatever a unit pays for has the
    option's, and work without a choice has that of a uniform selection. Under a mixed selection
    such work keeps the widths that its tensors state. Bytes always count the stated widths.
    """
    uniform = chosen[0] if len(set(chosen)) == 1 else None
    tensors = tuple(replace(tensor, bits=None) for tensor in unit.tensors)
    scaled = replace(unit, tensors=tensors)
    found = []
    for option in options:
        widths = option or uniform
        words = _word_bits(unit if widths is None else scaled, widths or FIXED)
        found.append(_row(platform, unit, option, widths or FIXED, words))
    return found


def _row(
    platform: AnalyticPlatform, unit: Unit, option: Option | None, widths: Option, word_bits: int
) -> UnitCost:
    """Return the cost of a unit: E = N_MAC e (b_w b_a / r^2) + N_mem q e (b / r).

    r is the reference width, e the energy of a MAC at it and q the memory ratio. N_mem counts
    the stored weights, the biases and every read and write of an activation, in words; a bias is
    one word of the weights' width here, so that a uniform width scales every word alike. Bytes
    count the bias at its true 32 bits. The formula knows no time.

    Source: E_MAC proportional to b^2 and E_mem to b with MAC : memory = 1 : 200, as the file says.
    """
    reference = platform.reference_bits
    energy = platform.energy_per_mac.si
    product = widths.weight_bits * widths.activation_bits
    traffic = traffic_of(unit, option or FIXED)
    memory_bytes = traffic.weight_bytes + traffic.activation_bytes
    return UnitCost(
        unit=unit.name,
        option=option,
        macs=unit.macs,
        energy_mac_j=unit.macs * energy * product / reference**2,
        energy_memory_j={LEVEL: word_bits * platform.memory_ratio.si * energy / reference},
        energy_static_j=0.0,
        latency_s=None,
        bound_by="",
        weight_bytes=traffic.weight_bytes,
        activation_bytes=traffic.activation_bytes,
        memory_bytes={LEVEL: memory_bytes},
    )


def _word_bits(unit: Unit, widths: Option) -> int:
    """Return the bits of every word moved; a bias is one word of the weights' width."""
    traffic = traffic_of(unit, widths)
    words = (unit.weight_elements + unit.bias_elements) * widths.weight_bits
    return words + traffic.activation_read_bits + traffic.activation_write_bits


def uniform_ratio(mac_share: float, bits: int, reference_bits: int = 32) -> float:
    """Return E(bits) / E(reference_bits) of a network with all widths equal.

    Args:
        mac_share: Part of the energy that is arithmetic at the reference width, in [0, 1].
        bits: The uniform width.
        reference_bits: Width at which `mac_share` holds.

    Raises:
        InputError: If `mac_share` is outside [0, 1] or a width is not positive.
    """
    if not 0 <= mac_share <= 1:
        raise InputError(f"mac_share must be in [0, 1], not {mac_share}")
    if bits < 1 or reference_bits < 1:
        raise InputError(f"bits must be positive, not {min(bits, reference_bits)}")
    scale = bits / reference_bits
    return mac_share * scale**2 + (1 - mac_share) * scale
