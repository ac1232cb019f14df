"""Two small float networks on scikit-learn's digits, shipped as ONNX, and the data they know.

`hwsim.networks.train` is the script that made the files. Importing this package needs neither
torch nor scikit-learn.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hwsim.errors import InputError

NAMES = ("digits_cnn", "digits_vit")

# The split is a function of the labels, this seed and this size alone. The files were trained on
# its larger part, so another seed would put trained images among the held-out ones.
SPLIT_SEED = 20
TEST_SIZE = 600


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """The digits, scaled to [0, 1]: what the shipped networks were trained on, and the rest.

    Args:
        x_train: float32, shape (1197, 1, 8, 8), in [0, 1].
        y_train: int64, shape (1197,), in [0, 9].
        x_test: float32, shape (600, 1, 8, 8), in [0, 1].
        y_test: int64, shape (600,), in [0, 9].
    """

    x_train: NDArray[np.float32]
    y_train: NDArray[np.int64]
    x_test: NDArray[np.float32]
    y_test: NDArray[np.int64]


def path(name: str) -> Path:
    """Return the ONNX file of a shipped network.

    Raises:
        InputError: If `name` is not in `NAMES`.
    """
    if name not in NAMES:
        raise InputError(f"network must be one of {', '.join(NAMES)}, not {name!r}")
    return Path(__file__).with_name(f"{name}.onnx")


def split_indices(labels: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the ascending positions of the training and of the held-out images.

    The images are shuffled, sorted by label and sampled at equal steps, so every digit's share of
    the held-out images is its share of all images, to within one image.

    Args:
        labels: int64, shape (images,), at least `TEST_SIZE` images.
    """
    # RandomState, because NumPy promises its stream for every later version.
    shuffled = np.random.RandomState(SPLIT_SEED).permutation(len(labels)).astype(np.int64)
    by_label = shuffled[np.argsort(labels[shuffled], kind="stable")]
    test = np.sort(by_label[np.arange(TEST_SIZE) * len(labels) // TEST_SIZE])
    return np.setdiff1d(np.arange(len(labels)), test), test


def digits_split() -> Split:
    """Return scikit-learn's 1,797 digits as 1,197 training and 600 held-out images.

    The data set does not say who wrote a digit, so both parts hold digits of the same writers:
    held-out accuracy speaks of new images, not of new writers.

    Raises:
        InputError: If scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise InputError(
            "scikit-learn must be installed to load the digits; run pip install hwsim[demo]"
        ) from error
    digits = load_digits()
    images = (digits.images[:, np.newaxis] / 16).astype(np.float32)  # 17 gray levels, 0 to 16
    labels = digits.target.astype(np.int64)
    train, test = split_indices(labels)
    return Split(images[train], labels[train], images[test], labels[test])
