"""Arrays of every make: the right bits, or one clear sentence."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import hwsim
from hwsim.errors import HwsimError
from hwsim.formats.tflite import read_tflite
from hwsim.graph import Graph
from tests.strategies import GENERATORS, generate

Array = np.ndarray


def model(operator: str, seed: int = 0) -> tuple[Graph, dict[str, Array]]:
    case = generate(operator, seed)
    graph = read_tflite(case.model.to_bytes(), Path(f"{operator}.tflite"))
    return graph, {name: case.feed[name] for name in graph.input_names}


def unaligned(x: Array) -> Array:
    raw = np.zeros(x.nbytes + 1, np.uint8)
    made = raw[1:].view(x.dtype).reshape(x.shape)
    made[...] = x
    return made


def every_other(x: Array) -> Array:
    return np.repeat(x, 2, axis=-1)[..., ::2]


def backward(x: Array) -> Array:
    return np.ascontiguousarray(x[..., ::-1])[..., ::-1]


def frozen(x: Array) -> Array:
    made = x.copy()
    made.flags.writeable = False
    return made


def inside(x: Array) -> Array:
    """Return a window of a larger array."""
    wide = np.full([size + 2 for size in x.shape], 99, x.dtype)
    window = wide[tuple(slice(1, -1) for _ in x.shape)]
    window[...] = x
    return window


FORMS = [unaligned, every_other, backward, np.asfortranarray, frozen, inside]
MODELS = ["CONV_2D", "CONV_2D_INT16", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "BATCH_MATMUL", "ADD"]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("operator", MODELS)
def test_any_memory_gives_the_same_bits(operator: str, form: Callable[[Array], Array]) -> None:
    graph, feed = model(operator)
    expected = hwsim.run(graph, feed)
    before = {name: array.copy() for name, array in feed.items()}
    made = hwsim.run(graph, {name: form(array) for name, array in feed.items()})
    for name, array in expected.items():
        assert made[name].dtype == array.dtype
        assert np.array_equal(made[name], array)
    assert all(np.array_equal(feed[name], array) for name, array in before.items())


def test_one_array_may_be_every_input() -> None:
    seeds = (model("ADD", seed) for seed in range(100))
    graph, feed = next(
        (graph, feed)
        for graph, feed in seeds
        if len(feed) == 2 and len({(a.shape, a.dtype) for a in feed.values()}) == 1
    )
    shared = next(iter(feed.values()))
    expected = hwsim.run(graph, {name: shared.copy() for name in feed})
    made = hwsim.run(graph, dict.fromkeys(feed, shared))
    for name, array in expected.items():
        assert np.array_equal(made[name], array)


@pytest.mark.parametrize("operator", MODELS)
def test_results_are_memory_of_their_own(operator: str) -> None:
    graph, feed = model(operator)
    first = hwsim.run(graph, feed)
    kept = {name: array.copy() for name, array in first.items()}
    other = {name: np.invert(array) for name, array in feed.items()}
    second = hwsim.run(graph, other)
    for name, array in first.items():
        assert array.flags.c_contiguous and array.flags.writeable
        assert np.array_equal(array, kept[name])
        assert not np.shares_memory(array, second[name])
        assert not any(np.shares_memory(array, given) for given in feed.values())
    traced = hwsim.trace(graph, feed)
    assert all(np.array_equal(traced[name], array) for name, array in kept.items())


@pytest.mark.parametrize("operator", MODELS)
def test_zero_sizes_are_one_sentence(operator: str) -> None:
    graph, feed = model(operator)
    with pytest.raises(HwsimError, match=r"^[^\n]+$"):
        hwsim.run(graph, {name: array[:0] for name, array in feed.items()})
    with pytest.raises(HwsimError, match=r"^[^\n]+$"):
        hwsim.run(graph, {name: array[..., :0] for name, array in feed.items()})


def test_swapped_bytes_are_one_sentence_or_the_same_bits() -> None:
    graph, feed = model("CONV_2D_INT16")
    swapped = {name: array.astype(array.dtype.newbyteorder(">")) for name, array in feed.items()}
    expected = hwsim.run(graph, feed)
    try:
        made = hwsim.run(graph, swapped)
    except HwsimError as error:
        assert "\n" not in str(error)
    else:
        assert all(np.array_equal(made[name], array) for name, array in expected.items())


def test_models_exist() -> None:
    assert set(MODELS) <= set(GENERATORS)
