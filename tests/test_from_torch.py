"""A torch module becomes a float graph, and an integer one, without leaving Python."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import hwsim
from hwsim.attributes import SoftmaxAttrs
from hwsim.errors import FormatError
from hwsim.fuse import fuse


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


@pytest.mark.parametrize("options", [{}, {"eps": 1e-3}, {"elementwise_affine": False}])
def test_rms_norm_is_one_operator(options: Any) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.RMSNorm(6, **options), nn.Linear(6, 3), nn.SiLU())
    if module[0].weight is not None:
        nn.init.normal_(module[0].weight)
    x = torch.randn(4, 5, 6)
    graph = hwsim.from_torch(module, x[:1])
    assert [node.op.value for node in fuse(graph).nodes] == ["rms_norm", "fully_connected", "silu"]
    (made,) = hwsim.run(graph, x.numpy(), profile="float").values()
    (fused,) = hwsim.run(fuse(graph), x.numpy(), profile="float").values()
    with torch.no_grad():
        expected = module(x).numpy()
    for found in (made, fused):
        assert np.abs(found - expected).max() < 1e-5 * np.abs(expected).max()
    integer = hwsim.quantize(graph, hwsim.calibrate(graph, x.numpy()), 8)
    assert not any(value.is_float for value in integer.values.values())


def test_rms_norm_of_several_axes_is_refused() -> None:
    with pytest.raises(FormatError, match="RMSNorm must be over the last axis alone"):
        hwsim.from_torch(nn.RMSNorm((5, 6)), torch.randn(1, 5, 6))


def test_a_torch_layer_with_a_causal_mask_runs_in_integers() -> None:
    class Decoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words = nn.Embedding(9, 16)
            self.layer = nn.TransformerEncoderLayer(
                16, 2, 32, dropout=0.0, activation="gelu", batch_first=True
            )
            self.register_buffer("mask", nn.Transformer.generate_square_subsequent_mask(6))

        def forward(self, words: torch.Tensor) -> torch.Tensor:
            made: torch.Tensor = self.layer(self.words(words), src_mask=self.mask)
            return made

    torch.manual_seed(0)
    module = Decoder()
    words = torch.randint(0, 9, (32, 6))
    graph = hwsim.from_torch(module, words[:1])
    (softmax,) = (node for node in fuse(graph).nodes if node.op.value == "softmax")
    assert softmax.attrs == SoftmaxAttrs(causal=True)
    (made,) = hwsim.run(graph, words.numpy(), profile="float").values()
    with torch.no_grad():
        expected = module.eval()(words).numpy()
    assert np.abs(made - expected).max() < 1e-5 * np.abs(expected).max()
    for profile in ("hawq", "ibert", "ivit", "qaof"):
        ranges = hwsim.calibrate(graph, words.numpy())
        integer = hwsim.quantize(graph, ranges, 8, profile=profile)
        one = next(iter(hwsim.run(integer, words.numpy(), threads=2).values()))
        apart = [
            next(iter(hwsim.run(integer, words[i : i + 1].numpy()).values())) for i in range(7)
        ]
        assert np.array_equal(one[:7], np.concatenate(apart))
        later = words.numpy().copy()
        later[:, 3:] = (later[:, 3:] + 1) % 9  # what comes later changes nothing before
        other = next(iter(hwsim.run(integer, later).values()))
        assert np.array_equal(one[:, :3], other[:, :3]) and not np.array_equal(one, other)
