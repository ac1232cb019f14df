"""What every operand of a unit moves at every memory level.

An operand has a chain of levels that may hold it, from the inside out. Between the outermost level
of a chain and the levels inside, a *border*, the layer's schedule decides how often it crosses
(`schedule`): inputs and weights come in, partial sums go out and come back. Every word that comes
in is read outside and written inside.

A unit pays for the tensors that it reads: for their one write and for every read. Where they can
stay inside (`residence`), they cross no border; but what crosses the chip's border by nature, the
network's inputs and outputs, does so once. Else their writer drains them to the outer level, every
reader reads them there, and a layer that multiplies reads as its schedule says. Of staying and
streaming, where both are possible, the one that moves less is taken. So a unit's cost depends on
its own widths alone.

With several levels inside, each border has a schedule of its own; that no single nest of loops
need reach all of them makes their sum a bound from below. Chips described so far have one.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from hwsim.errors import PlatformError
from hwsim.platform import MemoryLevel
from hwsim.tables import Option
from hwsim.workload import Layer, Tensor, Unit

from .borders import Stage, stages
from .loop_nest import MULTIPLIES, LoopNest, loop_nest
from .movement import IFMAP, SUMS, WEIGHTS, Access, Movement, Streamed, Streaming
from .residence import Crowd, crowds
from .schedule import Border, Room, Tile, best_schedule, smallest_bits
from .traffic import Traffic, keeps_weights, traffic_of

_UNLIMITED = 1 << 62


@dataclass(slots=True)
class _Counter:
    """Bits by operand and level."""

    bits: dict[tuple[str, str], list[int]] = field(default_factory=dict)

    def read(self, operand: str, level: MemoryLevel, bits: int) -> None:
        self.bits.setdefault((operand, level.name), [0, 0])[0] += bits

    def write(self, operand: str, level: MemoryLevel, bits: int) -> None:
        self.bits.setdefault((operand, level.name), [0, 0])[1] += bits


class Mover:
    """A network on a platform's memories.

    Args:
        name: The platform's.
        memory: Its levels, inside out.
        units: The network, for what is alive beside a tensor.
        streaming: What its array adds.
        widest: The widest weights and activations, as stored.
        network_bits: Stored weights of the whole network at the widest weights.
    """

    def __init__(
        self,
        name: str,
        memory: Sequence[MemoryLevel],
        units: Sequence[Unit],
        streaming: Streaming,
        widest: Option,
        network_bits: int,
    ) -> None:
        """Find the borders, and what is alive around every tensor."""
        self._name = name
        self._memory = tuple(memory)
        self._streaming = streaming
        self._widest = widest
        self._ifmap_chain = [level for level in memory if "activations" in level.holds]
        chain = [level for level in memory if "weights" in level.holds]
        kept = [i for i, level in enumerate(chain) if keeps_weights(level, network_bits)]
        self._weight_chain = chain[: kept[0] + 1] if kept else chain
        self._kept = {chain[kept[0]].name: network_bits} if kept else {}
        self._stages = stages(self._ifmap_chain, self._weight_chain, kept=bool(kept))
        self._nests = {
            layer: loop_nest(layer)
            for unit in units
            for layer in unit.layers
            if layer.work in MULTIPLIES and layer.macs
        }
        self._crowds = [
            crowds(units, widest.activation_bits, self._working(stage, units))
            for stage in self._stages
        ]

    def move(self, unit: Unit, option: Option) -> Movement:
        """Return what a unit moves.

        Args:
            unit: One of the network.
            option: Its widths, as stored.

        Raises:
            PlatformError: If its activations fit nowhere, or not even the smallest tiles fit.
        """
        traffic = traffic_of(unit, option)
        counter = _Counter()
        demands = self._demands(unit, option)
        ifmap_in, weights_in = self._ifmap_chain[0], self._weight_chain[0]
        counter.read(IFMAP, ifmap_in, traffic.activation_read_bits + demands[0])
        counter.write(IFMAP, ifmap_in, traffic.activation_write_bits)
        counter.read(WEIGHTS, weights_in, traffic.weight_bits + demands[1])
        counter.read(SUMS, ifmap_in, demands[2])
        counter.write(SUMS, ifmap_in, demands[2])
        streamed: list[Streamed] = []
        resident = False
        for stage, around in zip(self._stages, self._crowds, strict=True):
            crowd = around[unit.name]
            cases = self._cases(stage, unit, option, crowd, resident=resident)
            if not cases:
                self._refuse(stage, unit, option, crowd)
            best = min(cases, key=lambda case: case.bits(unit, traffic, option))
            resident = best.resident
            best.count(counter, stage, unit, traffic, option)
            # Where nothing is between, the array's own reads and the border's are the same ones.
            if stage.weights_out is not None and stage.weights_in is None:
                counter.read(WEIGHTS, stage.weights_out, -min(best.weight_extra, demands[1]))
            if stage.ifmap_out is not None and stage.ifmap_in is None:
                counter.read(IFMAP, stage.ifmap_out, -min(best.ifmap_extra, demands[0]))
            streamed += best.layers
        return Movement(
            traffic,
            tuple(
                Access(operand, level.name, *counter.bits[operand, level.name])
                for operand in (IFMAP, WEIGHTS, SUMS)
                for level in self._memory
                if any(counter.bits.get((operand, level.name), ()))
            ),
            tuple(streamed),
            resident,
        )

    def _demands(self, unit: Unit, option: Option) -> tuple[int, int, int]:
        """Return what the array reads beyond once: bits of inputs, of weights, and of sums."""
        ifmap = weights = sums = 0
        if self._streaming.demand is None:
            return 0, 0, 0
        for layer in unit.layers:
            nest = self._nests.get(layer)
            if nest is None:
                continue
            asked = self._streaming.demand(layer)
            bits = _input_bits(unit, option)
            ifmap += max(asked.ifmap - nest.groups * nest.ifmap_elements, 0) * bits
            more = max(asked.weights - nest.groups * nest.weight_elements, 0)
            if layer.weight_elements:
                weights += more * option.weight_bits
            else:
                ifmap += more * bits
            sums += asked.sums * self._streaming.sum_bits
        return ifmap, weights, sums

    def _working(self, stage: Stage, units: Iterable[Unit]) -> dict[Layer, int]:
        """Return what the smallest tiles of each layer take of a stage's activation memory."""
        found: dict[Layer, int] = {}
        for unit in units:
            for layer in unit.layers:
                nest = self._nests.get(layer)
                if nest is None or stage.ifmap_in is None:
                    continue
                if self._streaming.own is not None:
                    bits = self._streaming.own(unit.name, layer).working_bits
                else:
                    widths = (_widest_input(unit, self._widest), self._widest.weight_bits)
                    border = self._border(stage, layer, widths, 0, resident=False)
                    bits = smallest_bits(nest, border, border.rooms[0])
                found[layer] = max(found.get(layer, 0), bits)
        return found

    def _border(
        self,
        stage: Stage,
        layer: Layer,
        widths: tuple[int, int],
        taken: int,
        *,
        resident: bool,
    ) -> Border:
        """Return a stage as one layer sees it.

        Args:
            stage: The border.
            layer: The layer.
            widths: Of inputs and stored weights.
            taken: Bits that tensors take of the memory for activations.
            resident: Whether its activations are inside.
        """
        pair = layer.weight_elements == 0  # both operands are activations
        weights_in = stage.ifmap_in if pair else stage.weights_in
        moves_weights = (not resident) if pair else stage.weights_out is not None
        names = {level.name: level for level in (stage.ifmap_in, weights_in) if level is not None}
        rooms = [
            Room(
                bits=max(self._usable(level) - (taken if level is stage.ifmap_in else 0), 0),
                ifmap=stage.ifmap_in is level and not resident,
                weights=weights_in is level and moves_weights,
                sums=stage.ifmap_in is level,
            )
            for level in names.values()
        ]
        if stage.ifmap_in is None:
            registers = self._streaming.register_sums * self._streaming.sum_bits
            rooms.append(Room(registers, ifmap=False, weights=False, sums=True))
        return Border(
            ifmap_bits=widths[0],
            weight_bits=widths[0] if pair else widths[1],
            sum_bits=self._streaming.sum_bits,
            rooms=tuple(rooms),
            fetch_ifmap=not resident and stage.ifmap_out is not None,
            fetch_weights=moves_weights,
            spill_sums=stage.ifmap_out is not None,
        )

    def _usable(self, level: MemoryLevel) -> int:
        """Return the bits of a level that weights kept from inference to inference leave."""
        bits = _UNLIMITED if level.usable_bits is None else level.usable_bits
        return bits - self._kept.get(level.name, 0)

    def _cases(
        self,
        stage: Stage,
        unit: Unit,
        option: Option,
        crowd: Sequence[Crowd],
        *,
        resident: bool,
    ) -> list["_Case"]:
        """Return what is possible: activations inside, activations streamed."""
        if stage.ifmap_in is None:
            return self._case(stage, unit, option, {}, resident=resident)
        room, bits = self._usable(stage.ifmap_in), option.activation_bits
        widest = self._widest.activation_bits
        if stage.ifmap_out is None and not resident:  # nowhere else to go: others do not count
            if max((around.own(bits) for around in crowd), default=0) > room:
                return []
            taken = {around.order: around.own(bits) for around in crowd}
            return self._case(stage, unit, option, taken, resident=True)
        # Tensors of others are inside only where this unit's, at their widest, fit beside them.
        left = {around.order: room - around.own(widest) - around.working for around in crowd}
        beside = {around.order: max(min(around.others, left[around.order]), 0) for around in crowd}
        if resident:  # inside of this border already
            return self._case(stage, unit, option, beside, resident=True)
        cases = []
        if all(around.total(bits) <= room for around in crowd):
            taken = {around.order: around.own(bits) + around.others for around in crowd}
            cases = self._case(stage, unit, option, taken, resident=True)
            if any(case.weight_extra + case.sums == 0 for case in cases):
                return cases  # nothing can move less
        outside = self._usable(stage.ifmap_out) if stage.ifmap_out is not None else 0
        if any(around.own(bits) > outside for around in crowd):
            return cases
        return cases + self._case(stage, unit, option, beside, resident=False)

    def _case(
        self,
        stage: Stage,
        unit: Unit,
        option: Option,
        taken: Mapping[int | None, int],
        *,
        resident: bool,
    ) -> list["_Case"]:
        """Return all layers of a unit scheduled, or nothing if one does not fit.

        Args:
            stage: The border.
            unit: The unit.
            option: Its widths.
            taken: Bits that tensors take of the stage's activations, by the order of the layer
                that runs; None stands for all.
            resident: Whether its activations are inside.
        """
        inside = stage.ifmap_in or stage.weights_in
        layers, once_ifmap, once_weights, pairs = [], 0, 0, 0
        widths = (_input_bits(unit, option), option.weight_bits)
        for layer in unit.layers:
            nest = self._nests.get(layer)
            if nest is None:
                continue
            used = taken.get(layer.order, taken.get(None, 0))
            border = self._border(stage, layer, widths, used, resident=resident)
            found = self._scheduled(unit, layer, nest, border)
            if found is None:
                return []
            level = inside.name if inside else ""
            layers.append(replace(found, node=layer.node, level=level, resident=resident))
            once_ifmap += nest.groups * nest.ifmap_elements * border.ifmap_bits
            second = nest.groups * nest.weight_elements * border.weight_bits
            if layer.weight_elements:
                once_weights += second
            else:
                once_ifmap += second
                pairs += found.weight_bits
        fetched = sum(layer.ifmap_bits for layer in layers) + pairs
        weights = sum(layer.weight_bits for layer in layers) - pairs
        streams = not resident and stage.ifmap_out is not None
        return [
            _Case(
                resident=resident,
                layers=tuple(layers),
                ifmap_extra=max(fetched - once_ifmap, 0) if streams else 0,
                weight_extra=max(weights - once_weights, 0) if stage.weights_out else 0,
                sums=sum(layer.sum_bits for layer in layers),
                streams=streams,
            )
        ]

    def _scheduled(
        self, unit: Unit, layer: Layer, nest: LoopNest, border: Border
    ) -> Streamed | None:
        """Return the schedule of a layer, the array's own if it has one."""
        if self._streaming.own is not None:
            own = self._streaming.own(unit.name, layer)
            if any(own.working_bits > room.bits for room in border.rooms if room.ifmap):
                return None
            return Streamed(
                "", "", False, own.order, own.tile,
                own.ifmap * border.ifmap_bits * border.fetch_ifmap,
                own.weights * border.weight_bits * border.fetch_weights,
                0,
            )  # fmt: skip
        found = best_schedule(nest, border)
        if found is None:
            return None
        tile = _named(found.tile, nest)
        return Streamed(
            "", "", False, found.order, tile, found.ifmap_bits, found.weight_bits, found.sum_bits
        )

    def _refuse(self, stage: Stage, unit: Unit, option: Option, crowd: Sequence[Crowd]) -> None:
        """Say which level is too small for a unit.

        Raises:
            PlatformError: Always.
        """
        level = stage.ifmap_in
        own = max((around.own(option.activation_bits) for around in crowd), default=0)
        where = f"{self._name}: unit {unit.name!r}"
        last = stage.ifmap_out or level
        if last is not None and own > self._usable(last):
            raise PlatformError(
                f"{where}: its activation tensors must fit {self._usable(last) / 8:.0f} bytes "
                f"of {last.name}, not {own / 8:.0f}"
            )
        resident = stage.ifmap_out is None
        taken = own if resident else 0
        widths = (_input_bits(unit, option), option.weight_bits)
        for layer in unit.layers:
            nest = self._nests.get(layer)
            if nest is None:
                continue
            border = self._border(stage, layer, widths, taken, resident=resident)
            names = [x.name for x in (stage.ifmap_in, stage.weights_in) if x is not None]
            for room, name in zip(border.rooms, dict.fromkeys(names), strict=False):
                needed = smallest_bits(nest, border, room)
                if self._streaming.own is not None:
                    needed = self._streaming.own(unit.name, layer).working_bits
                if needed > room.bits:
                    raise PlatformError(
                        f"{where}: layer {layer.node!r} must find {needed / 8:.0f} bytes of "
                        f"{name} for its smallest tiles, not {room.bits / 8:.0f}"
                    )
        raise PlatformError(f"{where}: its smallest tiles must fit the memories, not exceed them")


@dataclass(frozen=True, slots=True)
class _Case:
    """A unit at a border, its activations inside or streamed."""

    resident: bool
    layers: tuple[Streamed, ...]
    ifmap_extra: int
    weight_extra: int
    sums: int
    streams: bool

    def bits(self, unit: Unit, traffic: Traffic, option: Option) -> int:
        """Return all bits that cross the border."""
        read, write = self._activations(unit, traffic, option)
        return read + write + self.weight_extra + 2 * self.sums

    def count(
        self, counter: _Counter, stage: Stage, unit: Unit, traffic: Traffic, option: Option
    ) -> None:
        """Count what crosses the border, on both sides of it."""
        read, write = self._activations(unit, traffic, option)
        if stage.ifmap_in is None:  # the array's own reads and writes are counted already
            read, write = self.ifmap_extra, 0
        if stage.ifmap_out is not None:
            counter.read(IFMAP, stage.ifmap_out, read)
            counter.write(IFMAP, stage.ifmap_out, write)
            counter.write(SUMS, stage.ifmap_out, self.sums)
            counter.read(SUMS, stage.ifmap_out, self.sums)
            if stage.ifmap_in is not None:
                counter.write(IFMAP, stage.ifmap_in, read)
                counter.read(IFMAP, stage.ifmap_in, write)
                counter.read(SUMS, stage.ifmap_in, self.sums)
                counter.write(SUMS, stage.ifmap_in, self.sums)
        if stage.weights_out is not None:
            weights = self.weight_extra
            if stage.weights_in is not None:
                weights += traffic.weight_bits
                counter.write(WEIGHTS, stage.weights_in, weights)
            counter.read(WEIGHTS, stage.weights_out, weights)

    def _activations(self, unit: Unit, traffic: Traffic, option: Option) -> tuple[int, int]:
        """Return the bits of activations that come in and go out."""
        if self.streams:
            return traffic.activation_read_bits + self.ifmap_extra, traffic.activation_write_bits
        crossing = [tensor for tensor in unit.tensors if tensor.is_io]
        read = sum(_bits(tensor, option) for tensor in crossing if not tensor.writes)
        return read, sum(_bits(tensor, option) for tensor in crossing if tensor.writes)


def _named(tile: Tile, nest: LoopNest) -> dict[str, int]:
    """Return the sizes of a tile by name; a run of pixels where windows do not overlap."""
    if nest.halo == (0, 0):
        pixels = {"pixels": tile.columns}
    else:
        pixels = {"images": tile.images, "rows": tile.rows, "columns": tile.columns}
    return pixels | {"filters": tile.filters, "channels": tile.channels}


def _bits(tensor: Tensor, option: Option) -> int:
    """Return the size of a tensor."""
    return tensor.elements * (tensor.bits or option.activation_bits)


def _input_bits(unit: Unit, option: Option) -> int:
    """Return the widest width among the tensors that a unit reads."""
    widths = [tensor.bits or option.activation_bits for tensor in unit.tensors if tensor.reads]
    return max(widths, default=option.activation_bits)


def _widest_input(unit: Unit, widest: Option) -> int:
    """Return the widest width that a unit's inputs may have."""
    return _input_bits(unit, widest)
