"""Run a TOSA flatbuffer on the reference model; runs in the environment of tosa-tools.

Usage: python tosa_worker.py MODEL.tosa INPUTS.npy OUTPUTS.npz
One inference per entry of the first axis of INPUTS; outputs are stacked and named by position.
"""

import sys
from pathlib import Path

import numpy as np


def main(model: str, inputs: str, outputs: str) -> None:
    """Run every entry and write what the model makes of it."""
    import tosa_reference_model  # type: ignore[import-not-found, unused-ignore]

    content = Path(model).read_bytes()
    runs = []
    for entry in np.load(inputs, allow_pickle=False):
        made = tosa_reference_model.run(content, [entry])
        made = made[0] if isinstance(made, tuple) else made
        runs.append([np.asarray(array) for array in made])
    joined = {str(i): np.stack(arrays) for i, arrays in enumerate(zip(*runs, strict=True))}
    np.savez(outputs, **joined)  # type: ignore[arg-type, unused-ignore]


if __name__ == "__main__":
    main(*sys.argv[1:])
