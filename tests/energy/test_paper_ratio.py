"""The energy-aware paper's formula on real graphs: one share of MAC energy explains every width."""

import pytest

import hwsim
from hwsim import networks
from hwsim.tables import Total


@pytest.mark.parametrize("name", networks.NAMES)
def test_uniform_widths_follow_the_share(name: str) -> None:
    graph = hwsim.load(networks.path(name))

    def total(bits: int) -> Total:
        return hwsim.cost(graph, "horowitz_ratio", bits, options=[]).total

    reference = total(32)
    share = reference.energy_mac_j / reference.energy_j
    for bits in (2, 4, 6, 8, 16):
        expected = share * (bits / 32) ** 2 + (1 - share) * bits / 32
        # Floats: sums of a hundred rows in another order.
        assert abs(total(bits).energy_j / reference.energy_j - expected) < 1e-12
