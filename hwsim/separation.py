"""The smallest input of one operator on which two arithmetics part.

Directed inputs come first (every code, every pair of codes, ties of reals, extremes), then random
ones from sparse to dense. What separates is shrunk: as few elements off the zero point as possible,
each as near to it as possible. Everything is seeded: the same question has the same answer.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsim.attributes import Attrs, ConvAttrs
from hwsim.graph import Graph, Node, Value
from hwsim.isolation import isolated
from hwsim.kernels.plan import execute, lower
from hwsim.kernels.sameness import apart_only_in_scaling
from hwsim.kernels.scan import next_apart
from hwsim.ops import Op
from hwsim.profile import NumericProfile
from hwsim.quant import IntType
from hwsim.recorded import shape_of
from hwsim.verify import accumulator_bounds

# Output elements, and products, that a search may compute before it gives up.
TRIED_ELEMENTS = 1 << 24
TRIED_PRODUCTS = 1 << 31
_TOGETHER = 8  # candidates per call: the engine's own chunk
_DENSITIES = (0.0, 1 / 64, 1 / 16, 1 / 4, 1.0)
_ELEMENTWISE = frozenset(
    {
        Op.ADD, Op.SUB, Op.MUL, Op.RELU, Op.RELU6, Op.RELU_N1_TO_1, Op.LEAKY_RELU, Op.LOGISTIC,
        Op.TANH, Op.HARD_SWISH, Op.GELU, Op.QUANTIZE,
    }
)  # fmt: skip

Inputs = dict[str, NDArray[Any]]  # candidates by input: (candidates, elements)
Outputs = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Separation:
    """An input on which arithmetics part.

    Args:
        node: The operator.
        inputs: One inference's operands by name.
        outputs: What each profile makes of them, by profile and value.
        value: An output that differs.
        index: The first element of it that differs.
        codes: That element by profile.
        changed: Elements of the inputs off their zero points.
    """

    node: str
    inputs: Mapping[str, NDArray[Any]]
    outputs: Mapping[str, Outputs]
    value: str
    index: tuple[int, ...]
    codes: Mapping[str, int | float]
    changed: int


@dataclass(frozen=True)
class Search:
    """What a search for a separating input found.

    Args:
        profiles: The two that were to be separated.
        separation: The input; None if there is none, or none was found.
        exhaustive: Whether every input was tried: then none exists.
        tried: Output elements computed per profile.
    """

    node: str
    profiles: tuple[str, str]
    separation: Separation | None
    exhaustive: bool
    tried: int


class Probe:
    """One operator under two profiles."""

    def __init__(self, graph: Graph, node: Node, pair: Sequence[NumericProfile]) -> None:
        """Cut the operator out."""
        self.alone = isolated(graph, node)
        self.node = node
        self.pair = tuple(pair)
        self.tried = 0

    @property
    def possible(self) -> bool:
        """Whether candidates can be joined: every operand has a first axis."""
        return all(value.shape for value in (*self.alone.inputs, *self.alone.outputs))

    @property
    def inputs(self) -> tuple[Value, ...]:
        """The operands that are not constants."""
        return self.alone.inputs

    def outputs(self, profile: NumericProfile, candidates: Inputs) -> Outputs:
        """Return the outputs of candidates, (candidates, elements) by value."""
        count = _count(candidates)
        padded = -(-count // _TOGETHER) * _TOGETHER
        rows = np.minimum(np.arange(padded), count - 1)
        feed = {
            value.name: candidates[value.name][rows].reshape(shape_of(value, padded))
            for value in self.inputs
        }
        made = execute(self.alone, profile, feed)
        return {name: array.reshape(padded, -1)[:count] for name, array in made.items()}

    def part(self, candidates: Inputs) -> NDArray[np.bool_]:
        """Return which candidates the two profiles answer differently."""
        left, right = (self.outputs(profile, candidates) for profile in self.pair)
        self.tried += sum(array.size for array in left.values())
        apart = np.zeros(_count(candidates), np.bool_)
        for name, array in left.items():
            apart |= (array != right[name]).any(axis=1)
        return apart


def separate(
    graph: Graph, node: Node, pair: tuple[NumericProfile, NumericProfile],
    all_profiles: Sequence[NumericProfile],
) -> Search:  # fmt: skip
    """Search for the smallest input of a node that separates two profiles.

    Args:
        graph: Holds the node.
        node: The operator.
        pair: Profiles whose rules for it differ.
        all_profiles: Whose outputs the result states.
    """
    probe = Probe(graph, node, pair)
    names = (pair[0].name, pair[1].name)
    if not probe.possible:
        return Search(node.name, names, None, exhaustive=False, tried=0)
    swept, whole = _sweep(probe)
    for candidates in swept:
        found = _first_apart(probe, candidates)
        if found is not None:
            return _finished(probe, _shrunk(probe, found), names, all_profiles)
    if whole:
        return Search(node.name, names, None, exhaustive=True, tried=probe.tried)
    if _no_accumulator_parts(probe):
        return Search(node.name, names, None, exhaustive=True, tried=probe.tried)
    for candidates in _random(probe, _budget(graph, node)):
        found = _first_apart(probe, candidates)
        if found is not None:
            return _finished(probe, _shrunk(probe, found), names, all_profiles)
    return Search(node.name, names, None, exhaustive=False, tried=probe.tried)


def _no_accumulator_parts(probe: Probe) -> bool:
    """Whether the profiles scale every accumulator that the operands allow to the same code.

    A proof where all that differs between their steps is one scaling, whose codes rise with the
    accumulator. False says nothing.
    """
    left, right = (lower(probe.alone, profile).calls[0].step for profile in probe.pair)
    scalings = apart_only_in_scaling(left, right)
    bounds = accumulator_bounds(probe.alone)
    if scalings is None or len(bounds) != 1:
        return False
    one, two = scalings
    low, high = bounds[0].low, bounds[0].high
    rises = all(
        (scaling.multiplier >= 0).all()
        and (scaling.real >= 0).all()
        and max(-low, high) << max(0, -int(scaling.right_shift.min(initial=0))) < 1 << 31
        for scaling in scalings
    )
    if not rises or any(bounds[0].bits > _width(probe, profile) for profile in probe.pair):
        return False
    channels = range(one.multiplier.size)
    return all(next_apart(one, two, channel, low, high) > high for channel in channels)


def _width(probe: Probe, profile: NumericProfile) -> int:
    bits = probe.alone.values[probe.node.inputs[0]].dtype.bits
    return profile.rule(probe.node.op, bits).accumulator_bits


def _count(candidates: Inputs) -> int:
    return len(next(iter(candidates.values())))


def _first_apart(probe: Probe, candidates: Inputs) -> Inputs | None:
    apart = np.flatnonzero(probe.part(candidates))
    if not apart.size:
        return None
    # Of those that separate, the one with the fewest elements off the zero point.
    changed = sum(
        (candidates[value.name][apart] != _background(value)).sum(axis=1) for value in probe.inputs
    )
    best = apart[int(np.argmin(changed))]
    return {name: array[best : best + 1] for name, array in candidates.items()}


def _background(value: Value) -> int | float:
    """Return the code of real zero, the nearest one of a type without it."""
    if value.is_float:
        return 0.0
    assert isinstance(value.dtype, IntType)
    return value.quant.zero_point[0] if value.quant is not None else max(value.dtype.min, 0)


def _products(attrs: Attrs, values: Sequence[Value | None]) -> int:
    """Return products per output element, roughly."""
    weights = values[1] if len(values) > 1 else None
    if isinstance(attrs, ConvAttrs) and weights is not None:
        return weights.elements // max(weights.shape[0], 1)
    return 1 if weights is None else weights.shape[-1]


def _budget(graph: Graph, node: Node) -> int:
    """Return how many random candidates a search may try."""
    elements = sum(graph.values[name].elements for name in node.outputs)
    products = elements * _products(node.attrs, graph.operands(node))
    most = min(TRIED_ELEMENTS // elements, TRIED_PRODUCTS // max(products, 1))
    return max(_TOGETHER * len(_DENSITIES), most)


def _sweep(probe: Probe) -> tuple[list[Inputs], bool]:
    """Return directed candidates and whether they are all that there can be.

    One operand of at most 16 bits, or two of at most 8: every code, or pair of codes, at every
    kind of element. A constant operand is another kind of element at each place.
    """
    values = probe.inputs
    types = [value.dtype for value in values if isinstance(value.dtype, IntType)]
    if len(types) != len(values):
        return [_ties(probe)], False
    if probe.node.op not in _ELEMENTWISE:
        return [], False
    bits = sum(dtype.bits for dtype in types)
    sizes = {value.elements for value in values}
    if len(values) > 2 or bits > 16 or len(sizes) != 1:
        return [], False
    elements = sizes.pop()
    mixed = any(value.is_constant for value in probe.alone.values.values()) or any(
        value.quant is not None and not value.quant.is_per_tensor for value in values
    )
    combinations = 1 << bits
    if mixed:
        if len(values) > 1 or combinations > 256:
            return [], False
        codes = (np.arange(combinations)[:, None] + np.arange(elements)[None, :]) % combinations
    else:
        rows = -(-combinations // elements)
        codes = np.resize(np.arange(combinations), (rows, elements))
    candidates, shift = {}, 0
    for value, dtype in zip(values, types, strict=True):
        made = (codes >> shift) % (1 << dtype.bits) + dtype.min
        candidates[value.name] = made.astype(dtype.storage)
        shift += dtype.bits
    return [candidates], len({value.shape for value in values}) == 1


def _ties(probe: Probe) -> Inputs:
    """Return reals in the middle between two codes of the output, and the floats beside them."""
    (out,) = probe.alone.outputs[:1]
    scale = out.quant.scale[0] if out.quant is not None else 1.0
    middles = (np.arange(-300, 300) + 0.5).astype(np.float32) * np.float32(scale)
    beside = [np.nextafter(middles, np.float32(side)) for side in (-np.inf, np.inf)]
    reals = np.concatenate([middles, *beside])
    candidates = {}
    for value in probe.inputs:
        rows = -(-reals.size // value.elements)
        made = np.resize(reals, (rows, value.elements))
        candidates[value.name] = made.astype(value.dtype.storage)
    count = max(len(array) for array in candidates.values())
    return {name: np.resize(array, (count, array.shape[1])) for name, array in candidates.items()}


def _random(probe: Probe, budget: int) -> Iterator[Inputs]:
    """Yield candidates from sparse to dense, their codes uniform, near zero, or extreme."""
    generator = np.random.default_rng(0)
    share = -(-budget // (len(_DENSITIES) * _TOGETHER))
    for density in _DENSITIES:
        rounds = 1 if density == 0.0 else share
        for turn in range(rounds):
            yield {
                value.name: _drawn(generator, value, density, turn % 4) for value in probe.inputs
            }


def _drawn(generator: np.random.Generator, value: Value, density: float, kind: int) -> NDArray[Any]:
    shape = (_TOGETHER, value.elements)
    background = _background(value)
    if not isinstance(value.dtype, IntType):
        reals = generator.normal(0.0, 10.0 ** generator.integers(-3, 4), shape)
        return np.where(generator.random(shape) < density, reals, 0.0).astype(value.dtype.storage)
    low, high = value.dtype.min, value.dtype.max
    if kind == 2:
        codes = background + generator.integers(-4, 5, shape)
    elif kind == 3:
        codes = generator.choice([low, high], shape)
    else:
        codes = generator.integers(low, high, shape, endpoint=True)
    codes = np.where(generator.random(shape) < density, codes, background)
    return np.clip(codes, low, high).astype(value.dtype.storage)


class _Point:
    """A candidate as one flat vector over all operands."""

    def __init__(self, probe: Probe, inputs: Inputs) -> None:
        self.probe = probe
        self.values = probe.inputs
        self.current = np.concatenate([inputs[v.name][0].astype(np.float64) for v in self.values])
        self.zero = np.concatenate(
            [np.full(v.elements, _background(v), np.float64) for v in self.values]
        )

    @property
    def active(self) -> NDArray[np.intp]:
        """Elements off the zero point."""
        return np.flatnonzero(self.current != self.zero)

    def inputs(self, points: NDArray[np.float64]) -> Inputs:
        """Return flat vectors (candidates, all elements) as candidates."""
        edges = np.cumsum([value.elements for value in self.values])[:-1]
        parts = np.split(points, edges, axis=1)
        return {
            value.name: part.astype(value.dtype.storage)
            for value, part in zip(self.values, parts, strict=True)
        }

    def take_first(self, points: Sequence[NDArray[np.float64]]) -> bool:
        """Move to the first of some vectors that still separates; tell whether one did."""
        for start in range(0, len(points), _TOGETHER):
            part = np.stack(points[start : start + _TOGETHER])
            apart = np.flatnonzero(self.probe.part(self.inputs(part)))
            if apart.size:
                self.current = part[apart[0]]
                return True
        return False


def _shrunk(probe: Probe, found: Inputs) -> Inputs:
    """Return a candidate of which no element, and no magnitude, can be spared."""
    point = _Point(probe, found)
    _drop_elements(point)
    _move_to_zero(point)
    return point.inputs(point.current[None, :])


def _drop_elements(point: _Point) -> None:
    """Set elements to the zero point while the profiles still part: delta debugging.

    Source: Zeller and Hildebrandt, IEEE TSE 28(2), 2002.
    """
    pieces = 2
    while True:
        active = point.active
        if not active.size:
            return
        pieces = min(pieces, active.size)
        chunks = np.array_split(active, pieces)
        if point.take_first([_kept(point, chunk) for chunk in chunks]):
            pieces = 2
        elif pieces > 2 and point.take_first([_without(point, chunk) for chunk in chunks]):
            pieces = max(pieces - 1, 2)
        elif pieces == active.size:
            if pieces <= 2:
                point.take_first([_without(point, chunk) for chunk in chunks])
            return
        else:
            pieces = min(2 * pieces, active.size)


def _kept(point: _Point, chunk: NDArray[np.intp]) -> NDArray[np.float64]:
    moved = point.zero.copy()
    moved[chunk] = point.current[chunk]
    return moved


def _without(point: _Point, chunk: NDArray[np.intp]) -> NDArray[np.float64]:
    moved = point.current.copy()
    moved[chunk] = point.zero[chunk]
    return moved


def _move_to_zero(point: _Point) -> None:
    """Bring each element nearer to its zero point while the profiles still part."""
    whole = all(isinstance(value.dtype, IntType) for value in point.values)
    if not whole:
        return
    moved = True
    while moved:
        moved = False
        for element in point.active:
            zero, code = point.zero[element], point.current[element]
            nearer = [zero + sign * step for step in _steps(abs(code - zero)) for sign in (1, -1)]
            points = []
            for nearby in nearer:
                if _in_range(point, element, nearby):
                    candidate = point.current.copy()
                    candidate[element] = nearby
                    points.append(candidate)
            moved = point.take_first(points) or moved


def _steps(distance: float) -> list[int]:
    """Return distances below one: all of a byte's, then powers of two."""
    near = list(range(1, min(int(distance), 256)))
    return near + [
        1 << power for power in range(8, int(distance).bit_length()) if 1 << power < distance
    ]


def _in_range(point: _Point, element: int, code: float) -> bool:
    for value in point.values:
        if element < value.elements:
            assert isinstance(value.dtype, IntType)
            return value.dtype.min <= code <= value.dtype.max
        element -= value.elements
    raise AssertionError(element)


def _finished(
    probe: Probe, inputs: Inputs, names: tuple[str, str], profiles: Sequence[NumericProfile]
) -> Search:
    single = {value.name: inputs[value.name].reshape(shape_of(value, 1)) for value in probe.inputs}
    outputs = {
        profile.name: {
            name: array.reshape(probe.alone.values[name].shape)
            for name, array in probe.outputs(profile, inputs).items()
        }
        for profile in profiles
    }
    left, right = (outputs[name] for name in names)
    value = next(name for name in left if not np.array_equal(left[name], right[name]))
    place = tuple(int(i) for i in np.argwhere(left[value] != right[value])[0])
    changed = sum(
        int(np.count_nonzero(inputs[operand.name] != _background(operand)))
        for operand in probe.inputs
    )
    codes = {name: made[value][place].item() for name, made in outputs.items()}
    found = Separation(probe.node.name, single, outputs, value, place, codes, changed)
    return Search(probe.node.name, names, found, exhaustive=False, tried=probe.tried)
