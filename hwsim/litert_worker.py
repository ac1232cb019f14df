"""A process that runs LiteRT: it aborts on some inputs, and must not take its caller along.

Usage: python -m hwsim.litert_worker MODEL INPUTS.npz OUTPUTS.npz KERNELS TENSOR_IDS
KERNELS is "reference" or "default"; TENSOR_IDS are comma-separated. Arrays are named by tensor id.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np


def main(model: str, inputs: str, outputs: str, kernels: str, ids: str) -> None:
    """Run every input and write the wanted tensors, joined along the first axis."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    wanted = [int(number) for number in ids.split(",")]
    content = Path(model).read_bytes()
    if kernels == "reference":
        interpreter = Interpreter(
            model_content=content,
            experimental_op_resolver_type=OpResolverType.BUILTIN_REF,
            experimental_preserve_all_tensors=True,
        )
    else:
        # Delegated tensors are hidden unless they are outputs of the graph.
        interpreter = Interpreter(model_content=_with_outputs(content, wanted))
    interpreter.allocate_tensors()
    with np.load(inputs, allow_pickle=False) as archive:
        arrays = {int(name): archive[name] for name in archive.files}
    batches = {
        int(detail["index"]): int(detail["shape"][0]) if len(detail["shape"]) else 1
        for detail in interpreter.get_input_details()
    }
    runs = {len(array) // batches[index] for index, array in arrays.items()}.pop()
    made: dict[int, list[np.ndarray]] = {index: [] for index in wanted}
    for run in range(runs):
        for index, array in arrays.items():
            size = batches[index]
            interpreter.set_tensor(index, array[run * size : (run + 1) * size])
        interpreter.reset_all_variables()  # a graph of ours keeps no state between runs
        interpreter.invoke()
        for index in wanted:
            made[index].append(np.atleast_1d(interpreter.get_tensor(index)).copy())
    joined: dict[str, Any] = {str(i): np.concatenate(parts) for i, parts in made.items()}
    np.savez(outputs, **joined)


def _with_outputs(content: bytes, wanted: list[int]) -> bytes:
    """Return the model with every wanted tensor as a graph output."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    model.subgraphs[0].outputs = wanted
    model.signatureDefs = []
    builder = flatbuffers.Builder(len(content))
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


if __name__ == "__main__":
    main(*sys.argv[1:])
