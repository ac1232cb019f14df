"""Train the shipped networks and export them: `python -m hwsim.networks.train [--out DIR]`.

Seeded, on one thread and with deterministic kernels: one machine and one torch version give the
same files again. Nothing is chosen by looking at the held-out images: the last epoch is exported.
Needs torch, onnx, onnxruntime and scikit-learn: `pip install hwsim[torch,oracle,demo]`.
"""

import argparse
import math
import time
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from hwsim.networks import NAMES, Split, digits_split, path

CLASSES = 10
OPSET = 17  # the first with LayerNormalization as one operator


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut; the shortcut is a 1x1 convolution if shapes differ.

    Shapes: (batch, in_channels, h, w) to (batch, out_channels, h / stride, w / stride).
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        """Create the layers."""
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride, bias=False),
                nn.BatchNorm2d(out_channels),
            )

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's feature map."""
        y = functional.relu(self.bn1(self.conv1(x)))
        return functional.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


class DigitsCnn(nn.Module):
    """A residual CNN of nine convolutions: 16 channels at 8x8, 32 at 4x4, 64 at 2x2."""

    def __init__(self) -> None:
        """Create the layers."""
        super().__init__()
        self.stem = nn.Conv2d(1, 16, 3, 1, 1, bias=False)
        self.bn = nn.BatchNorm2d(16)
        self.blocks = nn.Sequential(
            ResidualBlock(16, 16, 1), ResidualBlock(16, 32, 2), ResidualBlock(32, 64, 2)
        )
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(64, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits, (batch, 10), of images, (batch, 1, 8, 8)."""
        y = self.blocks(functional.relu(self.bn(self.stem(x))))
        logits: Tensor = self.head(torch.flatten(self.pool(y), 1))
        return logits


class Attention(nn.Module):
    """Multi-head softmax attention; shapes (batch, tokens, dim) to the same."""

    def __init__(self, tokens: int, dim: int, heads: int) -> None:
        """Create the four projections."""
        super().__init__()
        self.split_shape = (-1, tokens, heads, dim // heads)
        self.merge_shape = (-1, tokens, dim)
        self.query = nn.Linear(dim, dim)
        self.key = nn.Linear(dim, dim)
        self.value = nn.Linear(dim, dim)
        self.project = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Return the projected, attended values."""
        query = self.query(x).reshape(self.split_shape).transpose(1, 2)
        key = self.key(x).reshape(self.split_shape).transpose(1, 2)
        value = self.value(x).reshape(self.split_shape).transpose(1, 2)
        scores = query @ key.transpose(2, 3) * self.split_shape[-1] ** -0.5
        attended = torch.softmax(scores, dim=-1) @ value
        y: Tensor = self.project(attended.transpose(1, 2).reshape(self.merge_shape))
        return y


class TransformerBlock(nn.Module):
    """Pre-norm attention and a two-layer perceptron with exact GELU, each around a shortcut."""

    def __init__(self, tokens: int, dim: int, heads: int, hidden: int) -> None:
        """Create the layers."""
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attention = Attention(tokens, dim, heads)
        self.norm2 = nn.LayerNorm(dim)
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Return tokens of the same shape, (batch, tokens, dim)."""
        x = x + self.attention(self.norm1(x))
        y: Tensor = x + self.fc2(functional.gelu(self.fc1(self.norm2(x))))
        return y


class DigitsVit(nn.Module):
    """A vision transformer: 2x2 patches, 16 tokens of 48, four blocks of three heads, mean pool."""

    def __init__(self) -> None:
        """Create the layers."""
        super().__init__()
        tokens, dim = 16, 48
        self.patch_shape = (-1, dim, tokens)
        self.patch = nn.Conv2d(1, dim, 2, 2)
        self.position = nn.Parameter(torch.randn(1, tokens, dim) * 0.02)
        self.blocks = nn.Sequential(*(TransformerBlock(tokens, dim, 3, 96) for _ in range(4)))
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits, (batch, 10), of images, (batch, 1, 8, 8)."""
        y = self.patch(x).reshape(self.patch_shape).transpose(1, 2) + self.position
        logits: Tensor = self.head(self.norm(self.blocks(y)).mean(dim=1))
        return logits


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a network is trained: AdamW, one warm-up and cosine cycle, smoothed cross-entropy."""

    model: type[nn.Module]
    seed: int
    epochs: int
    learning_rate: float
    weight_decay: float
    batch: int = 64
    label_smoothing: float = 0.1
    max_shift_px: float = 1.0
    max_rotation_deg: float = 10.0


RECIPES = {
    "digits_cnn": Recipe(DigitsCnn, seed=1, epochs=80, learning_rate=4e-3, weight_decay=0.02),
    "digits_vit": Recipe(DigitsVit, seed=2, epochs=200, learning_rate=2e-3, weight_decay=0.05),
}


def augment(images: Tensor, recipe: Recipe) -> Tensor:
    """Return the images, each shifted and rotated at random, zeros moved in from outside."""
    count = len(images)
    angle = (torch.rand(count) * 2 - 1) * math.radians(recipe.max_rotation_deg)
    # affine_grid speaks of an image as [-1, 1]: one of 8 pixels is 2 / 8.
    shift = (torch.rand(count, 2) * 2 - 1) * recipe.max_shift_px * 2 / images.shape[-1]
    rows = (
        torch.stack((angle.cos(), -angle.sin(), shift[:, 0]), dim=1),
        torch.stack((angle.sin(), angle.cos(), shift[:, 1]), dim=1),
    )
    grid = functional.affine_grid(torch.stack(rows, dim=1), list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, align_corners=False)


def train(recipe: Recipe, images: NDArray[np.float32], labels: NDArray[np.int64]) -> nn.Module:
    """Return the trained network, in evaluation mode.

    Args:
        recipe: The network and its hyperparameters.
        images: float32, shape (images, 1, 8, 8), in [0, 1].
        labels: int64, shape (images,), in [0, 9].
    """
    torch.manual_seed(recipe.seed)
    model = recipe.model()
    x, y = torch.from_numpy(images), torch.from_numpy(labels)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=recipe.weight_decay)
    steps = len(x) // recipe.batch  # per epoch; the rest of the shuffle is left out
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, recipe.learning_rate, total_steps=recipe.epochs * steps, pct_start=0.1
    )
    loss_function = nn.CrossEntropyLoss(label_smoothing=recipe.label_smoothing)
    for _ in range(recipe.epochs):
        shuffled = torch.randperm(len(x))[: steps * recipe.batch]
        for batch in shuffled.reshape(steps, recipe.batch):
            optimizer.zero_grad()
            loss = loss_function(model(augment(x[batch], recipe)), y[batch])
            loss.backward()
            optimizer.step()
            schedule.step()
    return model.eval()


def export(model: nn.Module, file: Path) -> None:
    """Write the network as float32 ONNX, BatchNorm unfolded, the batch axis free."""
    with warnings.catch_warnings():
        # The newer exporter writes opset 18 and cannot convert the ViT's mean down to 17.
        warnings.simplefilter("ignore", DeprecationWarning)
        # True of a network in training mode; this one is in evaluation mode.
        warnings.filterwarnings("ignore", "It is recommended that constant folding", UserWarning)
        torch.onnx.export(
            model,
            (torch.zeros(2, 1, 8, 8),),
            file,
            input_names=["input"],
            output_names=["logits"],
            dynamic_axes={"input": {0: "batch"}, "logits": {0: "batch"}},
            opset_version=OPSET,
            training=torch.onnx.TrainingMode.PRESERVE,  # EVAL folds BatchNorm into the weights
            do_constant_folding=True,  # else every linear layer transposes its weights at run time
            dynamo=False,
        )
    proto = onnx.load(file)
    tidy(proto, model)
    onnx.checker.check_model(proto, full_check=True)
    onnx.save(proto, file)


def tidy(proto: onnx.ModelProto, model: nn.Module) -> None:
    """Give every parameter its own, named initializer and drop what torch notes of its source.

    1. Equal tensors come as one initializer and Identity nodes: two BatchNorms that meet in an
       addition learn the same bias.
    2. The transposed weights of a linear layer come as `onnx::MatMul_` and a number.
    """
    graph = proto.graph
    initializers = {tensor.name: tensor for tensor in graph.initializer}
    for node in [node for node in graph.node if node.op_type == "Identity"]:  # 1
        copy = graph.initializer.add()
        copy.CopyFrom(initializers[node.input[0]])
        copy.name = node.output[0]
        graph.node.remove(node)
    names = {
        parameter.detach().numpy().T.tobytes(): name
        for name, parameter in model.named_parameters()
        if parameter.ndim == 2
    }
    for node in graph.node:  # 2
        if node.op_type == "MatMul" and node.input[1] in initializers:
            weights = initializers[node.input[1]]
            weights.name = node.input[1] = names[onnx.numpy_helper.to_array(weights).tobytes()]
    proto.doc_string = graph.doc_string = ""
    for node in graph.node:
        node.doc_string = ""
        del node.metadata_props[:]


def correct_in_torch(model: nn.Module, split: Split) -> int:
    """Return how many held-out images torch classifies right."""
    with torch.no_grad():
        logits: Tensor = model(torch.from_numpy(split.x_test))
    return int((logits.argmax(dim=1).numpy() == split.y_test).sum())


def correct_in_onnxruntime(file: Path, split: Split) -> int:
    """Return how many held-out images onnxruntime classifies right."""
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    (logits,) = session.run(["logits"], {"input": split.x_test})
    return int((logits.argmax(axis=1) == split.y_test).sum())


def main() -> None:
    """Train, export and measure every network of `NAMES`."""
    parser = argparse.ArgumentParser(description="Train and export the shipped networks.")
    parser.add_argument(
        "--out", type=Path, default=path(NAMES[0]).parent, help="folder of the .onnx files"
    )
    out: Path = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    split = digits_split()
    for name in NAMES:
        start_s = time.perf_counter()
        model = train(RECIPES[name], split.x_train, split.y_train)
        train_s = time.perf_counter() - start_s
        file = out / f"{name}.onnx"
        export(model, file)
        parameters = sum(parameter.numel() for parameter in model.parameters())
        print(
            f"{name}: {parameters} parameters, {file.stat().st_size} bytes, "
            f"{correct_in_torch(model, split)} (torch) and "
            f"{correct_in_onnxruntime(file, split)} (onnxruntime) "
            f"of {len(split.y_test)} held-out images right, trained in {train_s:.0f} s"
        )


if __name__ == "__main__":
    main()
