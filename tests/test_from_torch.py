"""A torch module becomes a float graph, and an integer one, without leaving Python."""

import numpy as np
import pytest
import torch
from torch import nn

import hwsim
from hwsim.errors import FormatError


class Encoder(nn.Module):
    """Patches, one pre-norm attention block with fused q, k and v, an MLP with exact GELU."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(1, 16, 2, stride=2)
        self.norm1, self.norm2 = nn.LayerNorm(16), nn.LayerNorm(16)
        self.qkv, self.project = nn.Linear(16, 48), nn.Linear(16, 16)
        self.mlp = nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 16))
        self.head = nn.Linear(16, 5)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = self.patch(image).flatten(2).transpose(1, 2)
        y = self.qkv(self.norm1(x)).reshape(x.shape[0], 16, 3, 2, 8).permute(2, 0, 3, 1, 4)
        q, k, v = y[0], y[1], y[2]
        attention = ((q * 8**-0.5) @ k.transpose(-2, -1)).softmax(dim=-1)
        x = x + self.project((attention @ v).transpose(1, 2).reshape(x.shape))
        x = x + self.mlp(self.norm2(x))
        return self.head(x.mean(dim=1))


@pytest.fixture(scope="module")
def module() -> Encoder:
    torch.manual_seed(0)
    return Encoder().train()


def test_the_float_graph_is_the_module(module: Encoder) -> None:
    x = torch.randn(3, 1, 8, 8)
    graph = hwsim.from_torch(module, x[:1])
    assert module.training, "the module must be left in the mode it came in"
    with torch.no_grad():
        expected = module.eval()(x).numpy()
    module.train()
    (made,) = hwsim.run(graph, x.numpy(), profile="float").values()
    assert np.abs(made - expected).max() < 1e-5 * np.abs(expected).max()


def test_the_integer_graph_is_near_and_holds_no_float(module: Encoder) -> None:
    x = torch.randn(64, 1, 8, 8).numpy()
    graph = hwsim.from_torch(module, torch.from_numpy(x[:1]))
    integer = hwsim.quantize(graph, hwsim.calibrate(graph, x), 8)
    assert not any(value.is_float for value in integer.values.values())
    (floats,) = hwsim.run(graph, x, profile="float").values()
    (codes,) = hwsim.run(integer, x).values()
    quant = integer.outputs[0].quant
    assert quant is not None
    reals = codes * quant.scale[0]
    noise = np.square(reals - floats).sum() / np.square(floats).sum()
    assert noise < 10 ** (-20 / 10), "8 bits must keep 20 dB on this network"


@pytest.mark.parametrize("norm_first", [True, False])
def test_a_torch_encoder_layer_is_read(norm_first: bool) -> None:
    layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True, norm_first=norm_first)
    x = torch.randn(3, 6, 16)
    graph = hwsim.from_torch(layer, x[:1])
    with torch.no_grad():
        expected = layer.eval()(x).numpy()
    (made,) = hwsim.run(graph, x.numpy(), profile="float").values()
    assert np.abs(made - expected).max() < 1e-5 * np.abs(expected).max()


def test_normalization_inside_the_module_quantizes() -> None:
    class Normalized(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)
            self.register_buffer("mean", torch.tensor([0.5, 0.4, 0.3]).reshape(1, 3, 1, 1))
            self.register_buffer("std", torch.tensor([0.2, 0.3, 0.25]).reshape(1, 3, 1, 1))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.conv((x - self.mean) / self.std)

    x = torch.rand(8, 3, 6, 6)
    graph = hwsim.from_torch(Normalized(), x[:1])
    integer = hwsim.quantize(graph, hwsim.calibrate(graph, x.numpy()), 8)
    (floats,) = hwsim.run(graph, x.numpy(), profile="float").values()
    (codes,) = hwsim.run(integer, x.numpy()).values()
    quant = integer.outputs[0].quant
    assert quant is not None
    assert np.abs(codes * quant.scale[0] - floats).max() < 0.05 * np.abs(floats).max()


def test_what_cannot_be_exported_is_one_sentence() -> None:
    class Sorts(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.linalg.eigvals(x)

    with pytest.raises(FormatError, match="^module must be exportable to ONNX; "):
        hwsim.from_torch(Sorts(), torch.randn(1, 3, 3))
