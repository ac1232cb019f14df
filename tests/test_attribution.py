"""Errors of every operator against slow NumPy arithmetic in float64."""

import math

import numpy as np
import pytest

import hwsim
from hwsim import attribution, networks
from hwsim.attribution import Error, OperatorError
from hwsim.errors import GraphError, InputError
from hwsim.float_twin import float_twin
from tests.small_graphs import S_F, S_O, S_W, S_X, S_Y, Z_X, Z_Y, codes, conv_by_hand, network

NET = network()
X = codes(NET, 50)


def data(name: str) -> np.ndarray:
    array = NET.values[name].data
    assert array is not None
    return array.astype(np.float64)


def conv(x: np.ndarray) -> np.ndarray:
    """Return the convolution of reals (inputs, 2, 2, 2)."""
    weights = data("w").reshape(3, 2) * S_W
    return np.maximum(x @ weights.T + data("b") * S_X * S_W, 0)


def leaky(x: np.ndarray) -> np.ndarray:
    return np.where(x >= 0, x, x * 0.3)


def logits(x: np.ndarray) -> np.ndarray:
    return x @ (data("wf") * S_W).T + data("bf") * S_F * S_W


def expected(got: np.ndarray, reference: np.ndarray) -> Error:
    got, reference = got.ravel(), reference.ravel()
    error = got - reference
    power, noise = reference @ reference, error @ error
    return Error(
        10 * math.log10(power / noise) if noise else math.inf,
        got @ reference / math.sqrt(power * (got @ got)),
        float(np.abs(error).max()),
    )


def near(ours: Error, theirs: Error) -> bool:
    """The float engine holds float32; 1e-4 of the figure is far below any error it tells of."""
    return all(
        math.isclose(getattr(ours, name), getattr(theirs, name), rel_tol=1e-4, abs_tol=1e-5)
        for name in ("sqnr_db", "cosine", "largest")
    )


def quantized(x: np.ndarray, scale: float, zero_point: int) -> np.ndarray:
    """Return the reals of the nearest codes, ties away from zero (nobody meets one here)."""
    return (np.clip(np.rint(x / scale) + zero_point, -128, 127) - zero_point) * scale


def row(result: attribution.Attribution, value: str) -> OperatorError:
    return next(row for row in result.rows if row.value == value)


def test_total_own_and_inherited_are_measured_apart() -> None:
    result = hwsim.attribute(NET, X)
    assert (result.reference, result.samples, result.missing) == ("float twin", 50, ())
    reals = (X.astype(np.float64) - Z_X) * S_X
    exact_conv = conv(reals)
    exact_leaky = leaky(exact_conv)
    integer = {n: a.astype(np.float64) for n, a in hwsim.trace(NET, X).items()}
    first = row(result, "conv")
    got = (conv_by_hand(NET, X, once=False).astype(np.float64) - Z_Y) * S_Y
    assert near(first.total, expected(got, exact_conv))
    assert first.own == first.total  # the inputs are exact
    assert first.inherited.sqnr_db == math.inf and first.inherited.largest == 0

    last = row(result, "logits")
    got = (integer["logits"] - 1) * S_O
    flat = exact_leaky.reshape(50, 12)
    assert near(last.total, expected(got, logits(flat)))
    came = (integer["flat"] - 4) * S_F
    assert near(last.inherited, expected(logits(came), logits(flat)))
    # The operator alone: its integers on the codes nearest to the exact inputs.
    coded = quantized(flat, S_F, 4)
    alone = np.clip(np.floor(logits(coded) / S_O + 0.5) + 1, -128, 127)
    assert near(last.own, expected((alone - 1) * S_O, logits(coded)))
    assert row(result, "flat").own.sqnr_db == math.inf  # a reshape errs in nothing of its own


def test_the_batch_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = hwsim.attribute(NET, X).records()
    monkeypatch.setattr(attribution, "HELD_ELEMENTS", 7 * 40)
    seen: list[int] = []
    parts = hwsim.attribute(NET, X, progress=seen.append).records()
    assert sum(seen) == 50 and len(seen) > 1
    for one, two in zip(whole, parts, strict=True):
        for name, number in one.items():
            other = two[name]
            assert number == other or math.isclose(number, other, rel_tol=1e-6), name


def test_a_network_and_its_quantized_form_are_compared_operator_by_operator() -> None:
    floats = hwsim.load(networks.path("digits_cnn"))
    x = {"input": networks.digits_split().x_test[:48]}
    ranges = hwsim.calibrate(floats, x)
    fine = hwsim.attribute(hwsim.quantize(floats, ranges, 8), x, floats)
    coarse = hwsim.attribute(hwsim.quantize(floats, ranges, "W3A8"), x, floats)
    assert fine.reference == floats.name and fine.missing == ()
    made = hwsim.run(hwsim.quantize(floats, ranges, 8), x)["logits"]
    exact = hwsim.run(floats, x, profile="float")["logits"].astype(np.float64)
    quant = hwsim.quantize(floats, ranges, 8).values["logits"].quant
    assert quant is not None
    got = (made.astype(np.float64) - quant.zero_point[0]) * quant.scale[0]
    assert near(row(fine, "logits").total, expected(got, exact))
    convs = [one.value for one in fine.rows if one.operator == "conv_2d"]
    assert len(convs) > 5
    for value in convs:  # fewer bits in the weights, more error of the operator's own
        assert row(coarse, value).own.sqnr_db < row(fine, value).own.sqnr_db
    # Against its own dequantized weights the weights are no error.
    twin = hwsim.attribute(hwsim.quantize(floats, ranges, "W3A8"), x)
    assert all(row(twin, v).own.sqnr_db > row(coarse, v).own.sqnr_db for v in convs)


def test_the_float_twin_computes_the_dequantized_network() -> None:
    twin = float_twin(NET)
    assert [node.name for node in twin.nodes] == [node.name for node in NET.nodes]
    assert set(v.name for v in twin.activations) == set(v.name for v in NET.activations)
    reals = ((X.astype(np.float64) - Z_X) * S_X).astype(np.float32)
    made = hwsim.run(twin, reals, profile="float")["logits"]
    exact = logits(leaky(conv(reals.astype(np.float64))).reshape(50, 12))
    assert np.allclose(made, exact, rtol=1e-5, atol=1e-4)


def test_wrong_graphs_are_one_sentence() -> None:
    floats = hwsim.load(networks.path("digits_cnn"))
    with pytest.raises(GraphError, match="must hold quantized codes, not floats"):
        hwsim.attribute(floats, hwsim.random_inputs(floats, 2))
    with pytest.raises(GraphError, match="reference 'small' must hold floats, not quantized codes"):
        hwsim.attribute(NET, X, NET)
    with pytest.raises(InputError, match="must have the operators of 'small' by name"):
        hwsim.attribute(NET, X, floats)
