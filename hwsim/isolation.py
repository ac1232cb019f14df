"""One operator of a graph as a graph of its own."""

from dataclasses import replace

from hwsim.graph import Graph, Node


def computed_inputs(graph: Graph, node: Node) -> tuple[str, ...]:
    """Return the activations that a node reads, each once."""
    names = dict.fromkeys(filter(None, node.inputs))
    return tuple(name for name in names if not graph.values[name].is_constant)


def isolated(graph: Graph, node: Node) -> Graph:
    """Return the graph that is this node alone, fed with the activations that it reads."""
    names = (*filter(None, node.inputs), *node.outputs)
    return replace(
        graph,
        values={name: graph.values[name] for name in names},
        nodes=(node,),
        input_names=computed_inputs(graph, node),
        output_names=node.outputs,
        origin=None,
    )
