"""Pricing a ResNet-50-sized network: one configuration, the table of all options, the searches."""

import pytest

from hwsim.energy import cost
from hwsim.energy.block_search import block_of
from hwsim.energy.loop_nest import loop_nest
from hwsim.energy.schedule import Border, Room, best_schedule
from hwsim.platforms import load_platform
from hwsim.tables import Option
from hwsim.workload import Layer, Tensor, Unit, Work

W8A8 = Option(8, 8)


def convolution(index: int, inputs: int, outputs: int, kernel: int, stride: int, size: int) -> Unit:
    """Return a unit of one square convolution of a plane of `size`."""
    side, k = size // stride, inputs * kernel * kernel
    layer = Layer(
        f"conv{index}", Work.CONV, side * side * outputs * k, 1, side * side, outputs, k,
        (kernel, kernel), (1, side, side, outputs), outputs * k, outputs,
        in_shape=(1, size, size, inputs), stride=(stride, stride), order=index,
    )  # fmt: skip
    return Unit(layer.node, (layer,), (Tensor(f"x{index}", size * size * inputs, 1, 1),), W8A8)


def resnet50() -> list[Unit]:
    """Return the 53 convolutions of ResNet-50 at 224 x 224."""
    shapes = [(3, 64, 7, 2, 224)]
    size, inputs = 56, 64
    for width, blocks, first in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
        for block in range(blocks):
            stride = first if block == 0 else 1
            shapes += [(inputs, width, 1, 1, size), (width, width, 3, stride, size)]
            if block == 0:
                shapes.append((inputs, 4 * width, 1, stride, size))
            size //= stride
            shapes.append((width, 4 * width, 1, 1, size))
            inputs = 4 * width
    return [convolution(index, *shape) for index, shape in enumerate(shapes)]


WARM = ["ethos_u55_32", "ethos_u55_128", "ethos_u55_256", "tpu_v1", "eyeriss", "nvidia_t4"]


@pytest.mark.parametrize("name", WARM)
@pytest.mark.benchmark(group="price ResNet-50 on an NPU")  # goal: 50 ms, what was searched kept
def test_warm(benchmark, name):
    units, platform = resnet50(), load_platform(name)
    cost(units, platform, W8A8, [])
    benchmark(cost, units, platform, W8A8, [])


@pytest.mark.parametrize("name", ["ethos_u55_128", "nvidia_t4"])
@pytest.mark.benchmark(group="price ResNet-50, a table of all options")
def test_table(benchmark, name):
    units, platform = resnet50(), load_platform(name)
    cost(units, platform, W8A8)
    benchmark(cost, units, platform, W8A8)


@pytest.mark.benchmark(group="search ResNet-50's tiles and orders")
def test_schedules(benchmark):
    """64 KiB for tiles: nothing fits whole, every layer is searched."""
    nests = [loop_nest(layer) for unit in resnet50() for layer in unit.layers]
    border = Border(8, 8, 32, (Room(64 * 8192),))

    def anew():
        best_schedule.cache_clear()
        return [best_schedule(nest, border) for nest in nests]

    benchmark(anew)


@pytest.mark.benchmark(group="price ResNet-50 on an NPU")  # goal: 100 ms, every block searched
def test_cold(benchmark):
    units, platform = resnet50(), load_platform("ethos_u55_128")

    def anew():
        block_of.cache_clear()
        return cost(units, platform, W8A8)

    benchmark(anew)


def bottleneck(inputs: int, width: int, stride: int):
    """Return a residual block of ResNet-50 (the stride on its 3 x 3 convolution)."""
    from torch import nn

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(
                nn.Conv2d(inputs, width, 1), nn.ReLU(),
                nn.Conv2d(width, width, 3, stride, 1), nn.ReLU(),
                nn.Conv2d(width, 4 * width, 1),
            )  # fmt: skip
            changes = stride > 1 or inputs != 4 * width
            self.skip = nn.Conv2d(inputs, 4 * width, 1, stride) if changes else nn.Identity()

        def forward(self, x):
            return nn.functional.relu(self.body(x) + self.skip(x))

    return Block()


@pytest.fixture(scope="module")
def graph():
    """ResNet-50 at 224 x 224, batch norms folded, random weights."""
    import torch
    from torch import nn

    import hwsim

    layers = [nn.Conv2d(3, 64, 7, 2, 3), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    inputs = 64
    for width, blocks, first in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
        for block in range(blocks):
            layers.append(bottleneck(inputs, width, first if block == 0 else 1))
            inputs = 4 * width
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2048, 1000)]
    return hwsim.from_torch(nn.Sequential(*layers).eval(), torch.zeros(1, 3, 224, 224))


@pytest.mark.parametrize("name", [name for name in WARM if name != "ethos_u55_32"])
@pytest.mark.benchmark(group="price ResNet-50 from its graph")  # goal: 50 ms, fused graph kept
def test_graph(benchmark, graph, name):
    import hwsim

    platform = load_platform(name)
    hwsim.cost(graph, platform, W8A8, options=[])
    benchmark(hwsim.cost, graph, platform, W8A8, options=[])
