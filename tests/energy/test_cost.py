import pytest

from hwsim.energy import circuits, cost, folding, fpga, uniform_ratio
from hwsim.errors import BudgetError, InputError, PlatformError
from hwsim.platforms import load_platform, names
from hwsim.tables import Option
from hwsim.workload import Layer, Tensor, Unit, Work

W8A8 = Option(8, 8)


def conv(name: str, size: int, channels: int, inputs: int, kernel: int = 3) -> Unit:
    """Return a unit of one square convolution that reads its input once."""
    m, k = size * size, inputs * kernel * kernel
    layer = Layer(
        name, Work.CONV, m * channels * k, 1, m, channels, k, (kernel, kernel),
        (1, size, size, channels), channels * k, channels,
    )  # fmt: skip
    return Unit(name, (layer,), (Tensor(f"{name}:in", m * inputs, 1, 1),), W8A8)


def pool(name: str, size: int, channels: int) -> Unit:
    layer = Layer(name, Work.POOL, 0, 1, 0, 0, 0, (size, size), (1, 1, 1, channels), 0, 0)
    tensor = Tensor(f"{name}:in", size * size * channels, 1, 1)
    return Unit(name, (layer,), (tensor,), None, has_choice=False)


NET = [conv("a", 16, 16, 3), conv("b", 16, 32, 16), pool("p", 16, 32), conv("c", 1, 10, 32, 1)]


def with_mac_share(share: float) -> Unit:
    """Return a unit whose arithmetic is exactly `share` of its energy at 32 bits."""
    words = 1000  # at 200 MAC energies each
    macs = round(200 * words * share / (1 - share) * 1e6)
    layer = Layer("u", Work.FULLY_CONNECTED, macs, 1, 1, 1, macs, (1, 1), (1, 1), 0, 0)
    return Unit("u", (layer,), (Tensor("x", words * 10**6 // 2, 1, 1),))


@pytest.mark.parametrize(
    ("share", "bits", "published"),
    [
        (0.064, 8, 0.238), (0.064, 6, 0.178), (0.064, 4, 0.118),
        (0.048, 8, 0.241), (0.048, 6, 0.180), (0.048, 4, 0.120),
    ],
)  # fmt: skip
def test_uniform_ratios_of_the_analytic_model(share: float, bits: int, published: float) -> None:
    # 0.178 and .118 stand rounded in the source: 3 decimals are all that there is to agree with.
    assert round(uniform_ratio(share, bits), 3) == published
    platform = load_platform("horowitz_ratio")
    table = cost([with_mac_share(share)], platform, Option(32, 32))
    reference = table.total
    assert reference.energy_mac_j / reference.energy_j == pytest.approx(share, rel=1e-6)
    quantized = cost([with_mac_share(share)], platform, Option(bits, bits)).total
    assert round(quantized.energy_j / reference.energy_j, 3) == published
    assert quantized.latency_s is None


def test_biases_do_not_break_the_uniform_ratio() -> None:
    platform = load_platform("horowitz_ratio")
    reference = cost(NET[:2], platform, Option(32, 32)).total
    share = reference.energy_mac_j / reference.energy_j
    for bits in range(1, 33):
        total = cost(NET[:2], platform, Option(bits, bits), []).total
        assert total.energy_j / reference.energy_j == pytest.approx(uniform_ratio(share, bits))


def test_uniform_ratio_refuses_a_share_above_one() -> None:
    with pytest.raises(InputError, match=r"^mac_share must be in \[0, 1\], not 1\.5$"):
        uniform_ratio(1.5, 8)


def test_an_unsupported_pair_is_refused() -> None:
    with pytest.raises(PlatformError) as caught:
        cost(NET, load_platform("ethos_u55_128"), Option(4, 4))
    assert str(caught.value) == (
        "ethos_u55_128: weight_bits x activation_bits must be one of 2x8, 3x8, 4x8, 5x8, 6x8, 7x8, "
        "8x8, not 4x4"
    )


def test_a_long_list_of_pairs_is_cut() -> None:
    with pytest.raises(PlatformError) as caught:
        cost(NET, load_platform("nvidia_t4"), W8A8, [Option(9, 9)])
    assert str(caught.value) == (
        "nvidia_t4: weight_bits x activation_bits must be one of 2x2, 2x3, 2x4, ..., 8x8, not 9x9"
    )


def test_a_selection_names_every_unit_with_a_choice_and_no_other() -> None:
    platform = load_platform("nvidia_t4")
    with pytest.raises(InputError) as caught:
        cost(NET, platform, {"a": W8A8, "p": W8A8})
    assert str(caught.value) == "selection must name units with a choice (a, b, c), not 'p'"
    with pytest.raises(InputError) as caught:
        cost(NET, platform, {"a": W8A8})
    assert str(caught.value) == "selection must hold an option for unit 'b', not nothing"


def test_activations_beyond_the_chip_are_refused_where_nothing_else_holds_them() -> None:
    with pytest.raises(PlatformError) as caught:
        cost([conv("big", 1024, 8, 4)], load_platform("ethos_u55_128"), W8A8)
    assert str(caught.value) == (
        "ethos_u55_128: unit 'big': its activation tensors must fit 2097152 bytes of sram, "
        "not 4194304"
    )


def test_activations_beyond_the_chip_spill_on_a_gpu() -> None:
    table = cost([conv("big", 2048, 8, 4, 1)], load_platform("nvidia_t4"), W8A8, [])
    row = table.rows[0]
    assert row.memory_bytes["dram"] == row.weight_bytes + row.activation_bytes
    small = cost([conv("small", 16, 8, 4)], load_platform("nvidia_t4"), W8A8, []).rows[0]
    assert small.memory_bytes["dram"] == small.weight_bytes
    # The weights come into L2 before they are read there.
    assert small.memory_bytes["l2"] == 2 * small.weight_bytes + small.activation_bytes


@pytest.mark.parametrize("name", [n for n in names() if load_platform(n).supports(Option(2, 8))])
def test_rows_are_the_asked_and_the_selected_options(name: str) -> None:
    platform = load_platform(name)
    if name == "tpu_v1":  # takes no narrower weights
        assert platform.options == (W8A8, Option(8, 16))
        return
    table = cost(NET, platform, {"a": Option(4, 8), "b": W8A8, "c": W8A8}, [Option(2, 8)])
    assert table.units == ("a", "b", "c")
    assert table.options("a") == (Option(2, 8), Option(4, 8))
    assert table.options("b") == (Option(2, 8), W8A8)
    assert [row.unit for row in table.fixed_rows][:1] == ["p"]
    full = cost(NET, platform, W8A8)
    expected = platform.options if name != "horowitz_ratio" else 81
    assert len(full.options("a")) == (expected if isinstance(expected, int) else len(expected))


def test_native_weights_are_bytes_and_biases_words() -> None:
    for name in names():
        row = cost(NET, load_platform(name), W8A8, []).row("b", W8A8)
        assert row.weight_bytes == NET[1].weight_elements + 4 * NET[1].bias_elements
        assert row.activation_bytes == 2 * 16 * 16 * 16


def test_native_precisions_reproduce_the_published_peaks() -> None:
    gpu = load_platform("nvidia_t4")
    assert gpu.kind == "gpu"
    tops = [2 * row.macs_per_cycle.value * gpu.clock.si / 1e12 for row in gpu.precision]
    assert tops == pytest.approx([260.5, 130.3], rel=1e-3)  # vendor table, as rounded there
    npu = load_platform("ethos_u55_128")
    row = cost([conv("deep", 32, 128, 1024, 1)], npu, W8A8, []).rows[0]
    assert row.latency_s is not None and row.bound_by == "compute"
    assert row.macs / 128 / 500e6 <= row.latency_s < 1.02 * row.macs / 128 / 500e6


def test_narrow_weights_run_at_the_8_bit_rate_on_the_npu() -> None:
    table = cost(NET, load_platform("ethos_u55_128"), W8A8)
    compute = {table.row("b", option).latency_s for option in table.options("b")}
    assert len(compute) == 1
    stream = [table.row("c", option).memory_bytes["flash"] for option in table.options("c")]
    assert stream == sorted(stream) and stream[0] < stream[-1]


def test_a_pair_runs_at_its_smallest_native_precision_on_the_gpu() -> None:
    table = cost([conv("x", 64, 256, 256)], load_platform("nvidia_t4"), W8A8)
    energy = {option: table.row("x", option).energy_mac_j for option in table.options("x")}
    assert energy[Option(2, 3)] == energy[Option(4, 4)] < energy[Option(4, 5)] == energy[W8A8]


def test_the_dataflow_design_fits_and_no_faster_one_does() -> None:
    platform = load_platform("pynq_z2")
    assert platform.kind == "fpga"
    table = cost(NET, platform, Option(3, 3))
    total = table.total
    assert table.pipelined and total.latency_s is not None
    assert total.lut <= 0.7 * 53200 and total.bram_18k <= 0.8 * 280
    interval = round(total.latency_s * 100e6)
    budget, build = fpga.budget_of(platform.fabric), circuits.Build.of(platform)
    shapes = [circuits.shape_of(layer, Option(3, 3)) for unit in NET for layer in unit.layers]
    ways = [circuits.foldings(shape, build) for shape in shapes if shape.mw]
    faster = [way.need[way.cycles < interval] for way in ways]
    assert any(len(need) == 0 for need in faster) or folding.choose(faster, budget) is None
    toggling = sum(row.energy_mac_j for row in table.selected_rows)
    board = 1.56 * total.latency_s
    assert total.energy_j == pytest.approx(board + toggling, rel=1e-12)
    assert 0 < toggling < 0.1 * board
    assert table.row("board", None).latency_s == total.latency_s
    assert all((row.latency_s or 0.0) <= total.latency_s for row in table.rows)


def test_a_network_too_large_for_the_part_names_the_resource() -> None:
    with pytest.raises(BudgetError) as caught:
        cost([conv("big", 8, 512, 512)], load_platform("pynq_z2"), W8A8)
    assert str(caught.value) == (
        "pynq_z2: bram_18k must be at most 224 (the part's closure limit), not 1024, which is the "
        "need of the smallest design; use narrower weights or a larger part"
    )


def test_tied_layers_add_up() -> None:
    one, two = conv("x", 8, 16, 8), conv("y", 8, 16, 8)
    tied = Unit("x", one.layers + two.layers, one.tensors + two.tensors, W8A8)
    for name in ("ethos_u55_128", "horowitz_ratio", "nvidia_t4"):
        platform = load_platform(name)
        apart = cost([one, two], platform, W8A8, []).total
        together = cost([tied], platform, W8A8, []).total
        assert together.energy_j == pytest.approx(apart.energy_j, rel=1e-12)
        assert together.macs == apart.macs
        assert together.weight_bytes == apart.weight_bytes


def test_an_empty_network_costs_nothing() -> None:
    for name in names():
        total = cost([], load_platform(name), {}).total
        assert (total.energy_j, total.macs, total.lut) == (0, 0, 0)
