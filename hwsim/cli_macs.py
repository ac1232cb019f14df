"""The verb about arithmetic energy: mac-models."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hwsim.cli_options import (
    AsJson,
    BitsOption,
    Data,
    Divide,
    Key,
    Mean,
    Model,
    Std,
    print_json,
    tail,
)

if TYPE_CHECKING:
    from hwsim.energy.operands import LayerToggles
    from hwsim.graph import Graph


def counted_toggles(
    graph: "Graph", data: Path, key: str | None, preparation: Any, limit: int | None,
    dataflow: str = "os", array: str = "16x16",
) -> "tuple[LayerToggles, ...]":  # fmt: skip
    """Return the toggles of a graph on the inputs of a file."""
    from hwsim.energy.operands import Array, Dataflow
    from hwsim.errors import InputError
    from hwsim.feeding import read_feed
    from hwsim.macs import count_toggles

    flows = [flow.value for flow in Dataflow]
    if dataflow not in flows:
        raise InputError(f"--dataflow must be one of {', '.join(flows)}, not {dataflow!r}")
    rows, _, columns = array.partition("x")
    if not (rows.isdecimal() and columns.isdecimal()):
        raise InputError(f"--array must be rows x columns such as 16x16, not {array!r}")
    feed = read_feed(graph, data, key, preparation, limit)
    return count_toggles(graph, feed.arrays, Array(Dataflow(dataflow), int(rows), int(columns)))


def mac_models(
    model: Model,
    bits: BitsOption = None,
    data: Data = None,
    key: Key = None,
    divide: Divide = 1.0,
    mean: Mean = None,
    std: Std = None,
    limit: Annotated[int, typer.Option(help="Inputs whose operands are counted.")] = 4,
    dataflow: Annotated[str, typer.Option(help="os or ws: what stays in a unit.")] = "os",
    array: Annotated[str, typer.Option(help="Rows x columns of the array.")] = "16x16",
    as_json: AsJson = False,
) -> None:
    """Compare what the models of arithmetic energy say of one inference.

    An integer MODEL with --data is also run: the bits that its real operands flip are counted,
    and priced. Energies of two models do not compare (other nodes, other circuits); ratios do.
    """
    import hwsim
    from hwsim.errors import InputError
    from hwsim.feeding import Preparation
    from hwsim.macs import compare_mac_models
    from hwsim.partition import workload
    from hwsim.tables import Option
    from hwsim.units import format_quantity

    graph = hwsim.load(model)
    if data is not None and bits is not None:
        raise InputError("--bits must be left out with --data: toggles have the graph's own widths")
    counted: tuple[LayerToggles, ...] = ()
    if data is not None:
        preparation = Preparation.of(divide, mean, std)
        counted = counted_toggles(graph, data, key, preparation, limit, dataflow, array)
    widths = None if bits is None else Option.parse(bits)
    found = compare_mac_models(workload(graph), widths, counted)
    if as_json:
        print_json(
            {
                "models": [asdict(one) | {"ratio": one.ratio} for one in found],
                "toggles": [asdict(layer) for layer in counted],
            }
        )
        return
    print(f"{graph.name}: arithmetic of one inference")
    print(f"{'model':18} {'energy':>10} {'over 8 bits':>12}")
    for one in found:
        energy = "-" if one.energy_j is None else format_quantity(one.energy_j, "J")
        ratio = "-" if one.ratio is None else f"{one.ratio:.3f}"
        print(f"{one.model:18} {energy:>10} {ratio:>12}")
    for one in found:
        print(f"{one.model}: {one.says}")
    if counted:
        _show_toggles(counted, f"{dataflow}, {array} units, inputs: {limit}")
        if dataflow == "ws":
            print("sums that come down a column are counted, but no gate-level run prices them")


def _show_toggles(counted: "tuple[LayerToggles, ...]", where: str) -> None:
    from hwsim.energy.toggles import WIRES

    print(f"bits flipped per multiply-accumulate ({where}); error: largest standard error")
    print(f"{'layer':32} {'bits':>6} " + " ".join(f"{wire[:11]:>11}" for wire in WIRES) + "  error")
    for layer in counted:
        w, a, _ = layer.widths
        widths = f"{w}x{a}{'s' if layer.activation_signed else 'u'}"
        flips = " ".join(f"{value:11.2f}" for value in layer.toggles.mean)
        print(f"{tail(layer.node):32} {widths:>6} {flips} {max(layer.toggles.error):6.2f}")
