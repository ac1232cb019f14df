"""Two-layer transformers as torch modules and their float graphs."""

import torch
from torch import nn
from torch.nn import functional

import hwsim

TOKENS, WIDTH, HEADS = 6, 16, 2


class RmsNorm(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.gamma = nn.Parameter(1 + 0.2 * torch.randn(width))

    def forward(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * self.gamma


class Attention(nn.Module):
    def __init__(self, causal):
        super().__init__()
        self.qkv, self.project = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.causal = causal

    def forward(self, x):
        y = self.qkv(x).reshape(-1, TOKENS, 3, HEADS, WIDTH // HEADS).permute(2, 0, 3, 1, 4)
        scores = y[0] @ y[1].transpose(-2, -1) * (WIDTH // HEADS) ** -0.5
        if self.causal:
            hidden = torch.ones(TOKENS, TOKENS, dtype=torch.bool).triu(1)
            scores = scores.masked_fill(hidden, float("-inf"))
        y = scores.softmax(-1) @ y[2]
        return self.project(y.transpose(1, 2).reshape(-1, TOKENS, WIDTH))


class Block(nn.Module):
    def __init__(self, causal, norm, activation):
        super().__init__()
        self.norm1, self.norm2 = norm(WIDTH), norm(WIDTH)
        self.attention = Attention(causal)
        self.fc1, self.fc2 = nn.Linear(WIDTH, 2 * WIDTH), nn.Linear(2 * WIDTH, WIDTH)
        self.activation = activation

    def forward(self, x):
        x = x + self.attention(self.norm1(x))
        return x + self.fc2(self.activation(self.fc1(self.norm2(x))))


class Network(nn.Module):
    def __init__(self, causal, norm, activation):
        super().__init__()
        self.blocks = nn.Sequential(*(Block(causal, norm, activation) for _ in range(2)))
        self.norm, self.head = norm(WIDTH), nn.Linear(WIDTH, 5)

    def forward(self, x):
        return self.head(self.norm(self.blocks(x)))


def encoder():
    torch.manual_seed(0)
    return hwsim.from_torch(Network(False, nn.LayerNorm, nn.GELU()), torch.zeros(1, TOKENS, WIDTH))


def decoder():
    torch.manual_seed(1)
    return hwsim.from_torch(Network(True, RmsNorm, functional.silu), torch.zeros(1, TOKENS, WIDTH))


NETWORKS = {"encoder": encoder, "decoder": decoder}
