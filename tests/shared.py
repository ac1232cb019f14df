"""Where models and data of others are found: never part of this project."""

import os
from pathlib import Path

import pytest

_ROOT = Path(__file__).resolve().parent.parent


def _found(variable: str, default: str, name: str, loss: str) -> Path:
    path = Path(os.environ.get(variable, _ROOT.parent / "shared" / default)) / name
    if not path.is_file():
        pytest.skip(f"{default}/{name} is absent (set {variable}): {loss}")
    return path


def model_file(name: str, loss: str) -> Path:
    """Return a model of $HWSIM_MODELS, or skip the test and say what is lost."""
    return _found("HWSIM_MODELS", "models", name, loss)


def vector_file(name: str, loss: str) -> Path:
    """Return a file of $HWSIM_VECTORS, or skip the test and say what is lost."""
    return _found("HWSIM_VECTORS", "vectors", name, loss)


def data_file(name: str, loss: str) -> Path:
    """Return a data file of $HWSIM_DATA, or skip the test and say what is lost."""
    return _found("HWSIM_DATA", "data", name, loss)
