"""A run of a plan as layers of words: activations, constants, accumulators and requantizers.

Constants come from the plan itself. Accumulators come from the engine's own kernels, run again
with a 64-bit output and no scaling; every recorded requantizer is then applied to its accumulators
and must give the very codes of the run.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsim.attributes import Activation, PoolAttrs
from hwsim.errors import GraphError
from hwsim.graph import Graph, Node
from hwsim.ops import Op
from hwsim.profile import NumericProfile, OperatorRule, Requant
from hwsim.quant import FloatType, IntType, QuantParams
from hwsim.rtl.layer import Layer, Port, Role, Stage, folder_name

from .arith import Scaling
from .elementwise import rescale
from .lower_linear import Array
from .plan import Call, execute, lower
from .scaling import Site

INT64 = IntType(64)
SHIFT = IntType(6)  # right shifts are in [-30, 31]
_ONE = QuantParams((1.0,), (0,))
_SUMS = (
    Op.CONV_2D, Op.DEPTHWISE_CONV_2D, Op.TRANSPOSE_CONV, Op.FULLY_CONNECTED, Op.MATMUL, Op.MEAN,
    Op.AVERAGE_POOL_2D, Op.LAYER_NORM, Op.RMS_NORM,
)  # fmt: skip
_DIFFERENCES = (Op.RELU, Op.RELU6, Op.RELU_N1_TO_1, Op.QUANTIZE)
_OPERANDS = {
    Op.CONV_2D: ("input", "weights", "bias"),
    Op.DEPTHWISE_CONV_2D: ("input", "weights", "bias"),
    Op.TRANSPOSE_CONV: ("input", "weights", "bias"),
    Op.FULLY_CONNECTED: ("input", "weights", "bias"),
    Op.RMS_NORM: ("input", "gamma"),
    Op.LAYER_NORM: ("input", "gamma", "beta"),
}


@dataclass(frozen=True)
class _Requantizer:
    """Accumulators, the scaling they meet, and the codes that must come out."""

    name: str
    accumulator: NDArray[np.int64]
    scaling: Scaling
    code: NDArray[np.integer]
    select: NDArray[np.int64] | None = None


def record(graph: Graph, profile: NumericProfile, arrays: Mapping[str, Array]) -> Iterator[Layer]:
    """Yield every node of a run as a layer, in execution order.

    Args:
        graph: Integer graph.
        profile: Its arithmetic.
        arrays: Every activation of the run, by name.

    Raises:
        GraphError: If the engine could not have made these arrays.
    """
    plan = lower(graph, profile)
    for index, (node, call) in enumerate(zip(graph.nodes, plan.calls, strict=True)):
        yield _layer(index, Site(graph, node, profile), call, arrays)


def _layer(index: int, site: Site, call: Call, arrays: Mapping[str, Array]) -> Layer:
    ports = {port.name: port for port in _operand_ports(site, call, arrays)}
    numbers: dict[str, int] = {}
    for name, constant in call.constants.items():
        if isinstance(constant, Scaling):
            continue
        if isinstance(constant, np.ndarray):
            if name not in ports:
                ports[name] = Port(name, Role.CONSTANT, constant, site.integer(site.result()))
        else:
            numbers[name] = int(constant)
    stages = []
    for requantizer in _requantizers(site, call, arrays):
        _prove(site, requantizer)
        stage, made = _stage(site, requantizer)
        stages.append(stage)
        ports |= {port.name: port for port in made}
    return Layer(
        site.node.name,
        folder_name(index, site.node.name, site.op.value),
        site.op.value,
        _rule(site).method.value,
        site.node.attrs,
        numbers,
        ports,
        tuple(stages),
    )


def _rule(site: Site) -> OperatorRule:
    """Return the profile's rule; movement of codes has none."""
    try:
        return site.rule
    except GraphError:
        return OperatorRule(Requant.NONE)


def _operand_ports(site: Site, call: Call, arrays: Mapping[str, Array]) -> Iterator[Port]:
    """Yield activations and constant operands with their zero points."""
    node, values = site.node, site.graph.values
    named = _OPERANDS.get(site.op, ())
    inputs = [name for name in node.inputs if name and not values[name].is_constant]
    for slot, name in enumerate(node.inputs):
        if not name:
            continue
        value = values[name]
        if value.data is None:
            stem, role = f"input{inputs.index(name)}", Role.INPUT
            words: NDArray[np.generic] = arrays[name]
        else:
            stem = named[slot] if slot < len(named) else f"constant{slot}"
            role, words = Role.CONSTANT, value.data
            _agree(site, call, stem, value.data, value.quant)
        yield Port(stem, role, words, value.dtype, name, value.quant)
        yield from _zero_port(stem, value.dtype, value.quant)
    for slot, name in enumerate(node.outputs):
        value = values[name]
        stem = f"output{slot}"
        yield Port(stem, Role.OUTPUT, arrays[name], value.dtype, name, value.quant)
        yield from _zero_port(stem, value.dtype, value.quant)


def _zero_port(stem: str, dtype: Any, quant: QuantParams | None) -> Iterator[Port]:
    if quant is not None:
        zeros = np.array(quant.zero_point, np.int64)
        yield Port(f"{stem}_zero_point", Role.CONSTANT, zeros, dtype)


def _agree(
    site: Site, call: Call, stem: str, codes: NDArray[np.generic], quant: QuantParams | None
) -> None:
    """Refuse codes that are not what the kernel multiplies by, zero point added."""
    used = call.constants.get(stem)
    if not isinstance(used, np.ndarray):
        return
    centered = codes.astype(np.int64)
    if quant is not None and stem == "weights":
        centered = centered - quant.broadcast(centered.ndim)[1]
    if not np.array_equal(used.reshape(-1), centered.reshape(-1)):
        raise site.fail(f"{stem} of the plan must be those of the graph")


def _requantizers(site: Site, call: Call, arrays: Mapping[str, Array]) -> Iterator[_Requantizer]:
    """Yield the requantizers of a node whose accumulators this module can form."""
    constants = {k: v for k, v in call.constants.items() if isinstance(v, Scaling)}
    if not constants or any(site.graph.values[name].is_float for name in call.outputs):
        return
    code = arrays[call.outputs[0]]
    if site.op in _SUMS:
        acc = _accumulators(site, arrays)
        yield _Requantizer("", acc, constants["requantize"], code, _counts(site, code.shape))
    elif site.op in _DIFFERENCES:
        yield _Requantizer("", _centered(site, arrays, 0), constants["requantize"], code)
    elif site.op is Op.MUL:
        acc = _spread(site, arrays, 0, code.shape) * _spread(site, arrays, 1, code.shape)
        yield _Requantizer("", acc, constants["requantize"], code)
    elif site.op is Op.LEAKY_RELU:
        acc = _centered(site, arrays, 0)
        both = _both(constants["requantize_above"], constants["requantize_below"])
        yield _Requantizer("", acc, both, code, (acc < 0).astype(np.int64))
    elif site.op in (Op.ADD, Op.SUB):
        yield from _addition(site, call, constants, arrays, code)


def _addition(
    site: Site,
    call: Call,
    constants: Mapping[str, Scaling],
    arrays: Mapping[str, Array],
    code: Array,
) -> Iterator[_Requantizer]:
    """Yield the operands' requantizers and, where there is one, the sum's."""
    shift = call.constants.get("left_shift", 0)
    assert isinstance(shift, int)
    parts = []
    for slot, name in enumerate("ab"):
        scaling = constants[f"requantize_{name}"]
        acc = _spread(site, arrays, slot, code.shape) << shift
        parts.append(_scaled(acc, scaling))
        yield _Requantizer(name, acc, scaling, parts[-1])
    total = parts[0] + parts[1] if site.op is Op.ADD else parts[0] - parts[1]
    if "requantize" in constants:
        yield _Requantizer("", total, constants["requantize"], code)


def _centered(site: Site, arrays: Mapping[str, Array], slot: int) -> NDArray[np.int64]:
    value = site.operand(slot)
    codes = value.data if value.data is not None else arrays[value.name]
    assert value.quant is not None
    centered: NDArray[np.int64] = codes.astype(np.int64) - value.quant.zero_point[0]
    return centered


def _spread(
    site: Site, arrays: Mapping[str, Array], slot: int, shape: tuple[int, ...]
) -> NDArray[np.int64]:
    """Return a centered operand broadcast to the output, batch by batch of the run."""
    one, out = site.operand(slot).shape, site.result().shape
    batches = shape[0] // out[0] if shape else 1
    missing = (1,) * (len(out) - len(one))
    own = _centered(site, arrays, slot).reshape(-1, *missing, *one)
    return np.broadcast_to(own, (batches, *out)).reshape(shape)


def _accumulators(site: Site, arrays: Mapping[str, Array]) -> NDArray[np.int64]:
    """Return what the node's own kernel requantizes: its result without scaling, 64 bits wide."""
    node, values = site.node, site.graph.values
    out = replace(site.result(), dtype=INT64, quant=_ONE)
    kept = {name: values[name] for name in node.inputs if name} | {out.name: out}
    inputs = tuple(
        name for name in dict.fromkeys(node.inputs) if name and not values[name].is_constant
    )
    raw = replace(site.rule, requant=Requant.NONE, multiplier_bits=31)
    rules = {(node.op, width): raw for op, width in site.profile.rules if op is node.op}
    graph = Graph("accumulators", kept, (_unclamped(node),), inputs, node.outputs)
    profile = replace(site.profile, rules=rules)
    made = execute(graph, profile, {name: arrays[name] for name in inputs})
    return np.asarray(made[out.name], np.int64)


def _unclamped(node: Node) -> Node:
    """Return the node without its fused activation."""
    attrs: Any = node.attrs
    if not hasattr(attrs, "activation"):
        return node
    return replace(node, attrs=replace(attrs, activation=Activation.NONE))


def _counts(site: Site, shape: tuple[int, ...]) -> NDArray[np.int64] | None:
    """Return the elements of each window of a pool, which select its multiplier."""
    attrs = site.node.attrs
    if not isinstance(attrs, PoolAttrs):
        return None
    if attrs.count_padding:
        return np.full(shape, math.prod(attrs.kernel), np.int64)
    sides = []
    for axis in (0, 1):
        first = np.arange(shape[1 + axis]) * attrs.stride[axis] - attrs.padding[axis]
        last = np.minimum(first + attrs.kernel[axis], site.operand(0).shape[1 + axis])
        sides.append(last - np.maximum(first, 0))
    counts = np.outer(sides[0], sides[1])[None, :, :, None]
    return np.broadcast_to(counts, shape).astype(np.int64)


def _both(above: Scaling, below: Scaling) -> Scaling:
    """Return two scalings of one range as rows 0 and 1 of one."""
    return above._replace(
        multiplier=np.concatenate([above.multiplier, below.multiplier]),
        right_shift=np.concatenate([above.right_shift, below.right_shift]),
        real=np.concatenate([above.real, below.real]),
    )


def _scaled(
    acc: NDArray[np.int64], scaling: Scaling, select: NDArray[np.int64] | None = None
) -> NDArray[np.int64]:
    """Return the codes of accumulators by the engine's own requantizer."""
    made = np.empty(acc.shape, np.int64)
    if select is None:
        rows = scaling.multiplier.size
        codes = np.empty((acc.size // rows, rows), np.int64)
        zero: Any = np.int64(0)  # an int64, which widens what it meets
        rescale(np.ascontiguousarray(acc).reshape(codes.shape), zero, scaling, codes)
        return codes.reshape(acc.shape)
    for row in np.unique(select):
        one = slice(int(row), int(row) + 1)
        single = scaling._replace(
            multiplier=scaling.multiplier[one].copy(),
            right_shift=scaling.right_shift[one].copy(),
            real=scaling.real[one].copy(),
        )
        made[select == row] = _scaled(acc[select == row], single)
    return made


def _prove(site: Site, requantizer: _Requantizer) -> None:
    """Refuse a record whose words do not explain each other."""
    made = _scaled(requantizer.accumulator, requantizer.scaling, requantizer.select)
    if not np.array_equal(made, requantizer.code):
        raise site.fail(
            f"the {int((made != requantizer.code).sum())} codes that the recorded requantizer "
            "does not give must be none"
        )


def _stage(site: Site, requantizer: _Requantizer) -> tuple[Stage, list[Port]]:
    """Return a requantizer and the ports that it adds to the layer."""
    scaling, end = requantizer.scaling, f"_{requantizer.name}" if requantizer.name else ""
    rule = Requant(scaling.rule)
    width = max(site.rule.accumulator_bits, 32)
    ports = [Port(f"accumulator{end}", Role.INNER, requantizer.accumulator, IntType(width))]
    factors: tuple[str, ...] = ()
    if rule.is_fixed:
        factors = (f"multiplier{end}", f"right_shift{end}")
        signed = IntType(scaling.fraction + 1)
        ports.append(Port(factors[0], Role.CONSTANT, scaling.multiplier, signed))
        ports.append(Port(factors[1], Role.CONSTANT, scaling.right_shift, SHIFT))
    elif rule is not Requant.NONE:
        bits = 32 if rule is Requant.FLOAT32_HALF_EVEN else 64
        ratios = scaling.real.astype(f"float{bits}")
        factors = (f"ratio{end}",)
        ports.append(Port(factors[0], Role.CONSTANT, ratios, FloatType(bits)))
    select = None
    if requantizer.select is not None:
        select = f"select{end}"
        rows = IntType(max(int(scaling.multiplier.size - 1).bit_length(), 1), signed=False)
        ports.append(Port(select, Role.INNER, requantizer.select, rows))
    code = "output0"
    if requantizer.name:
        code = f"scaled{end}"
        ports.append(Port(code, Role.INNER, requantizer.code, IntType(32)))
    stage = Stage(
        requantizer.name, rule, scaling.fraction, scaling.zero_point, scaling.qmin, scaling.qmax,
        f"accumulator{end}", code, factors, select,
    )  # fmt: skip
    return stage, ports
