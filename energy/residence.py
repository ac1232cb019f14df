"""Which activations can stay in a memory between the layers that write and read them.

A tensor must find room from the layer that writes it to the last that reads it, beside all others
that are alive then. The unit that owns it knows its own width and not those of the others, and
costs must not depend on them: so others count at the widest activations of the platform, whether
they are inside or not. What one unit takes to be inside then always fits, whatever the others
chose. The price: at narrow widths more may fit than is counted here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from hwsim.workload import Layer, Unit


@dataclass(frozen=True, slots=True)
class Crowd:
    """What is alive while one layer runs.

    Args:
        order: The layer's; None where the unit states no lifetimes, so that it is any of its own.
        free: Elements of the unit's tensors whose width its option decides.
        fixed: Bits of its tensors that state their width.
        others: Bits of all other tensors, at their widest.
        working: Bits of the smallest tiles of the layer that runs.
    """

    order: int | None
    free: int
    fixed: int
    others: int
    working: int

    def own(self, activation_bits: int) -> int:
        """Return the bits of the unit's own tensors."""
        return self.free * activation_bits + self.fixed

    def total(self, activation_bits: int) -> int:
        """Return the bits of everything alive."""
        return self.own(activation_bits) + self.others + self.working


@dataclass(frozen=True, slots=True)
class _Storage:
    """Tensors in one place: the largest of them counts."""

    unit: str
    elements: int
    bits: int | None
    first: int
    last: int


def crowds(
    units: Sequence[Unit], widest_bits: int, working: Mapping[Layer, int]
) -> dict[str, tuple[Crowd, ...]]:
    """Return what surrounds the tensors of each unit, for every layer during which one is alive.

    A unit that states no lifetimes has all its tensors alive at once, and nothing beside them.

    Args:
        units: The network.
        widest_bits: Width at which tensors of other units count.
        working: Bits of a layer's smallest tiles.
    """
    storages = _storages(units)
    tiles: dict[int, int] = {}
    for unit in units:
        for layer in unit.layers:
            tiles[layer.order] = max(tiles.get(layer.order, 0), working.get(layer, 0))
    total: dict[int, int] = {}
    for storage in storages:
        size = storage.elements * (storage.bits or widest_bits)
        for step in range(storage.first, storage.last + 1):
            total[step] = total.get(step, 0) + size
    by_unit: dict[str, list[_Storage]] = {}
    for storage in storages:
        by_unit.setdefault(storage.unit, []).append(storage)
    found: dict[str, tuple[Crowd, ...]] = {}
    for unit in units:
        if any(tensor.alive is None for tensor in unit.tensors):
            found[unit.name] = (_alone(unit, working),)
            continue
        own = by_unit.get(unit.name, [])
        steps = {step for part in own for step in range(part.first, part.last + 1)}
        there = []
        for step in sorted(steps | {layer.order for layer in unit.layers}):
            alive = [part for part in own if part.first <= step <= part.last]
            free = sum(part.elements for part in alive if part.bits is None)
            fixed = sum(part.elements * part.bits for part in alive if part.bits is not None)
            others = total.get(step, 0) - free * widest_bits - fixed
            there.append(Crowd(step, free, fixed, others, tiles.get(step, 0)))
        found[unit.name] = tuple(there)
    return found


def _alone(unit: Unit, working: Mapping[Layer, int]) -> Crowd:
    """Return all tensors of a unit at once."""
    return Crowd(
        order=None,
        free=sum(tensor.elements for tensor in unit.tensors if tensor.bits is None),
        fixed=sum(tensor.elements * tensor.bits for tensor in unit.tensors if tensor.bits),
        others=0,
        working=max((working.get(layer, 0) for layer in unit.layers), default=0),
    )


def _storages(units: Sequence[Unit]) -> list[_Storage]:
    """Return the places of all tensors whose lifetimes are stated."""
    found: dict[str, _Storage] = {}
    for unit in units:
        for tensor in unit.tensors:
            if tensor.alive is None:
                continue
            name = tensor.storage or tensor.name
            first, last = tensor.alive
            here = _Storage(unit.name, tensor.elements, tensor.bits, first, last)
            known = found.get(name)
            if known is not None:
                here = replace(
                    known,
                    elements=max(known.elements, here.elements),
                    bits=max(known.bits, here.bits) if known.bits and here.bits else None,
                    first=min(known.first, first),
                    last=max(known.last, last),
                )
            found[name] = here
    return list(found.values())


def batched(unit: Unit, batch: int) -> Unit:
    """Return what a unit does for so many inferences at once: every layer for all of them."""
    if batch == 1:
        return unit
    return replace(
        unit,
        layers=tuple(_batched(layer, batch) for layer in unit.layers),
        tensors=tuple(replace(t, elements=t.elements * batch) for t in unit.tensors),
    )


def _batched(layer: Layer, batch: int) -> Layer:
    """Return a layer for so many inferences; a product of two activations has as many more."""
    paired = layer.macs > 0 and layer.weight_elements == 0
    return replace(
        layer,
        macs=layer.macs * batch,
        groups=layer.groups * (batch if paired else 1),
        m=layer.m * (1 if paired else batch),
        batch=1 if paired else batch,
        in_shape=(layer.in_shape[0] * batch, *layer.in_shape[1:]) if layer.in_shape else (),
        out_shape=(layer.out_shape[0] * batch, *layer.out_shape[1:]) if layer.out_shape else (),
    )
