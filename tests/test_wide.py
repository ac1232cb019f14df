import random

import numpy as np
import pytest

from hwsim.wide import Layout, add, ranks, staircase, take, undominated


@pytest.mark.parametrize("bits", [1, 31, 61, 62, 63, 100, 124, 125, 300])
def test_wide_integers_equal_pythons(bits):
    rng = random.Random(bits)
    left = [0, 2**bits - 1, *(rng.randrange(2**bits) for _ in range(40))]
    right = [2**bits - 1, 2**bits - 1, *(rng.randrange(2**bits) for _ in range(40))]
    layout = Layout.holding(2 ** (bits + 1) - 2)
    sums = add(layout.pack(left), layout.pack(right))
    expected = [a + b for a, b in zip(left, right, strict=True)]
    assert [layout.value(sums, n) for n in range(len(left))] == expected
    for limit in (-1, 0, *expected[:5], expected[3] - 1, 2 ** (bits + 9)):
        assert layout.at_most(sums, limit).tolist() == [value <= limit for value in expected]
    places = sorted(set(expected))
    assert ranks(sums).tolist() == [places.index(value) for value in expected]


@pytest.mark.parametrize("top", [3, 40, 2**100])
def test_staircase_keeps_the_nondominated(top):
    rng = random.Random(top)
    points = [(rng.randint(0, top), rng.randint(0, top)) for _ in range(300)]
    layout = Layout.holding(top)
    columns = [layout.pack(column) for column in zip(*points, strict=True)]
    kept = [points[n] for n in staircase(*columns)]
    expected = {
        p for p in points if not any(q != p and q[0] <= p[0] and q[1] <= p[1] for q in points)
    }
    assert kept == sorted(expected)


@pytest.mark.parametrize("count", [2, 3, 4])
@pytest.mark.parametrize("top", [6, 2**100])
def test_undominated_loses_no_nondominated_point(count, top):
    rng = random.Random(count)
    points = [tuple(rng.randint(0, top) for _ in range(count)) for _ in range(3_000)]
    layout = Layout.holding(top)
    columns = [layout.pack(column) for column in zip(*points, strict=True)]
    kept = undominated(columns)
    chosen = [points[n] for n in kept]
    assert chosen == sorted(set(chosen))
    table = np.array(points, dtype=object)
    for point in set(points) - set(chosen):
        assert any(
            np.all(table <= np.array(point, dtype=object), axis=1) & np.any(table != point, axis=1)
        )
    assert layout.value(take(columns[0], kept), 0) == min(point[0] for point in points)
