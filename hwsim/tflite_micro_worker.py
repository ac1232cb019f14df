"""A process that runs TFLite Micro: it aborts on some models, and must not take its caller along.

Usage: python -m hwsim.tflite_micro_worker MODEL INPUTS.npz OUTPUTS.npz INPUT_IDS TENSOR_IDS
Ids are comma-separated; arrays are named by tensor id. A wanted tensor must be an operator's
output: asking for another ends the process.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np


def main(model: str, inputs: str, outputs: str, input_ids: str, ids: str) -> None:
    """Run every input and write the wanted tensors, joined along the first axis."""
    from tflite_micro.python.tflite_micro import runtime

    slots = [int(number) for number in input_ids.split(",")]
    wanted = [int(number) for number in ids.split(",")]
    interpreter = runtime.Interpreter.from_bytes(
        Path(model).read_bytes(),
        intrepreter_config=runtime.InterpreterConfig.kPreserveAllTensors,  # the package's spelling
    )
    with np.load(inputs, allow_pickle=False) as archive:
        arrays = {int(name): archive[name] for name in archive.files}
    sizes = {
        index: int(interpreter.get_input_details(slot)["shape"][0])
        for slot, index in enumerate(slots)
    }
    runs = {len(array) // sizes[index] for index, array in arrays.items()}.pop()
    made: dict[int, list[np.ndarray]] = {index: [] for index in wanted}
    for run in range(runs):
        for slot, index in enumerate(slots):
            size = sizes[index]
            interpreter.set_input(arrays[index][run * size : (run + 1) * size], slot)
        interpreter.invoke()
        for index in wanted:
            tensor = interpreter.GetTensor(index, 0)["tensor_data"]
            made[index].append(np.atleast_1d(np.array(tensor)))
    joined: dict[str, Any] = {str(i): np.concatenate(parts) for i, parts in made.items()}
    np.savez(outputs, **joined)


if __name__ == "__main__":
    main(*sys.argv[1:])
