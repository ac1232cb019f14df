"""Reading, running and pricing integer graphs needs no extra; what does says which one."""

import subprocess
import sys
from pathlib import Path

from tests.strategies import generate

BLOCK = """
import sys
for name in ("torch", "onnxruntime", "ai_edge_litert", "sklearn", "scipy"):
    sys.modules[name] = None  # an import of it fails as if it were not installed
import hwsim
"""


def run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", BLOCK + code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_an_integer_graph_is_read_run_and_priced_without_torch(tmp_path: Path) -> None:
    model = tmp_path / "conv.tflite"
    model.write_bytes(generate("CONV_2D", 5).model.to_bytes())
    code = f"""
g = hwsim.load({str(model)!r})
x = hwsim.random_inputs(g, 2)
print(hwsim.run(g, x)[g.output_names[0]].dtype, hwsim.cost(g, "nvidia_t4").total.energy_j > 0)
"""
    assert run(code) in ("int8 True", "uint8 True")


def test_the_float_engine_names_its_extra() -> None:
    code = """
from hwsim import networks
from hwsim.errors import HwsimError
g = hwsim.load(networks.path("digits_cnn"))
try:
    hwsim.run(g, hwsim.random_inputs(g, 1), profile="float")
except HwsimError as error:
    print(error)
"""
    assert run(code) == (
        "the float engine must have torch; install it with pip install 'hwsim[torch]'"
    )
