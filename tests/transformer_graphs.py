"""Two-layer transformers, initialized at random: torch modules and the float graphs they become."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

import hwsim
from hwsim.graph import Graph

TOKENS, WIDTH, HEADS, WORDS = 6, 16, 2, 11


class RmsNorm(nn.Module):
    """x / sqrt(mean(x**2) + epsilon) * gamma over the last axis."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(1 + 0.2 * torch.randn(width))

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * self.gamma


class LayerNorm(nn.LayerNorm):
    """LayerNorm with parameters that are not 1 and 0, some of gamma negative."""

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.weight = nn.Parameter(torch.randn(width))
        self.bias = nn.Parameter(0.3 * torch.randn(width))


class Attention(nn.Module):
    """Multi-head attention with fused query, key and value; (batch, tokens, width) to the same."""

    def __init__(self, causal: bool) -> None:
        super().__init__()
        self.qkv, self.project = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.causal = causal

    def forward(self, x: Tensor) -> Tensor:
        y = self.qkv(x).reshape(-1, TOKENS, 3, HEADS, WIDTH // HEADS).permute(2, 0, 3, 1, 4)
        scores = y[0] @ y[1].transpose(-2, -1) * (WIDTH // HEADS) ** -0.5
        if self.causal:
            hidden = torch.ones(TOKENS, TOKENS, dtype=torch.bool).triu(1)
            scores = scores.masked_fill(hidden, float("-inf"))
        y = (4 * scores).softmax(-1) @ y[2]
        project: Tensor = self.project(y.transpose(1, 2).reshape(-1, TOKENS, WIDTH))
        return project


class Block(nn.Module):
    """Pre-norm attention and a two-layer perceptron, each around a shortcut."""

    def __init__(self, causal: bool, norm: Any, activation: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.norm1, self.norm2 = norm(WIDTH), norm(WIDTH)
        self.attention = Attention(causal)
        self.fc1, self.fc2 = nn.Linear(WIDTH, 2 * WIDTH), nn.Linear(2 * WIDTH, WIDTH)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        y: Tensor = x + self.fc2(self.activation(self.fc1(self.norm2(x))))
        return y


class Network(nn.Module):
    """Two blocks, a norm and a head; words are looked up first where there are any."""

    def __init__(self, words: int, causal: bool, norm: Any, activation: Any) -> None:
        super().__init__()
        self.words = nn.Embedding(words, WIDTH) if words else None
        self.position = nn.Parameter(torch.randn(1, TOKENS, WIDTH))
        self.blocks = nn.Sequential(*(Block(causal, norm, activation) for _ in range(2)))
        self.norm, self.head = norm(WIDTH), nn.Linear(WIDTH, words or 5)

    def forward(self, x: Tensor) -> Tensor:
        y = (x if self.words is None else self.words(x)) + self.position
        logits: Tensor = self.head(self.norm(self.blocks(y)))
        return logits


def encoder() -> Graph:
    """Return an encoder of real vectors: LayerNorm, GELU."""
    torch.manual_seed(0)
    module = Network(0, False, LayerNorm, nn.GELU())
    return hwsim.from_torch(module, torch.zeros(1, TOKENS, WIDTH))


def decoder() -> Graph:
    """Return a causal decoder of words, without a cache: RMSNorm, SiLU."""
    torch.manual_seed(1)
    module = Network(WORDS, True, RmsNorm, functional.silu)
    return hwsim.from_torch(module, torch.zeros(1, TOKENS, dtype=torch.long))


def gelu_decoder() -> Graph:
    """Return a causal decoder of words with LayerNorm and GELU."""
    torch.manual_seed(2)
    module = Network(WORDS, True, LayerNorm, nn.GELU())
    return hwsim.from_torch(module, torch.zeros(1, TOKENS, dtype=torch.long))


NETWORKS: Mapping[str, Callable[[], Graph]] = {
    "encoder": encoder,
    "decoder": decoder,
    "gelu_decoder": gelu_decoder,
}


def feed_of(graph: Graph, count: int, seed: int) -> dict[str, np.ndarray]:
    """Return random words, or random vectors."""
    rng = np.random.default_rng(seed)
    (value,) = graph.inputs
    shape = (count, *value.shape[1:])
    if value.is_float or value.quant is not None:
        return {value.name: rng.normal(0, 1, shape).astype(np.float32)}
    return {value.name: rng.integers(0, WORDS, shape)}
