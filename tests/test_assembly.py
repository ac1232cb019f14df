"""What LLVM makes of the tile of every tier: the instructions that it promises, and no spills.

A tile is emitted for CPUs that this machine need not be; nothing is run.
"""

import re
from functools import cache

import llvmlite.binding as llvm
import pytest
from llvmlite import ir

from hwsim.kernels.native.matrix import TILES
from hwsim.kernels.native.target import TIERS
from hwsim.kernels.native.tile import Codes, Shape, Spot, emit_tile
from hwsim.profile import Requant

TIER = {tier.name: tier for tier in TIERS}
# LLVM's name of a CPU and the features that Numba would pass.
TARGETS = {
    "vnni512": ("x86_64-linux-gnu", "znver4", "+avx512vnni,+avx512bw,+avx512vl"),
    "avxvnni": ("x86_64-linux-gnu", "sierraforest", "+avxvnni,+avx2"),
    "avx2": ("x86_64-linux-gnu", "haswell", "+avx2"),
    "neon_dot": ("aarch64-linux-gnu", "neoverse-n1", "+neon,+dotprod"),
    "generic": ("x86_64-linux-gnu", "x86-64", "+sse2"),
}
QUADS = ("vnni512", "avxvnni")
INT8, UINT8, INT16 = Codes(1, True, True), Codes(1, False, True), Codes(2, False, False)
X86 = [name for name in TARGETS if name != "neon_dot"]


@cache
def assembly(tier: str, codes: Codes, shape: Shape, rule: Requant) -> str:
    """Return the optimized assembly of one tile."""
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    triple, cpu, features = TARGETS[tier]
    module = ir.Module(triple)
    module.triple = triple
    kind = ir.FunctionType(ir.VoidType(), [ir.IntType(64)] * 7)
    function = ir.Function(module, kind, "tile")
    builder = ir.IRBuilder(function.append_basic_block())
    emit_tile(builder, TIER[tier], codes, shape, rule, Spot(*function.args))
    builder.ret_void()
    machine = llvm.Target.from_triple(triple).create_target_machine(cpu, features, opt=3)
    made = llvm.parse_assembly(str(module))
    made.verify()
    options = llvm.create_pipeline_tuning_options(speed_level=3)
    passes = llvm.create_pass_builder(machine, options)
    passes.getModulePassManager().run(made, passes)
    return str(machine.emit_assembly(made))


def loops(text: str) -> list[str]:
    """Return every block that jumps to its own start, up to that jump."""
    blocks = re.split(r"^(\.?\w+):.*$", text, flags=re.MULTILINE)
    found = []
    for label, body in zip(blocks[1::2], blocks[2::2], strict=True):
        back = re.search(rf"\s(j|b\.|cb|tb)\w+\s.*{re.escape(label)}$", body, re.MULTILINE)
        if back:
            found.append(body[: back.end()])
    return found


def innermost(text: str, instruction: str) -> str:
    """Return the longest loop that has an instruction: what LLVM unrolled of it."""
    found = [body for body in loops(text) if instruction in body]
    assert found, f"no loop with {instruction}"
    return max(found, key=len)


def spills(body: str) -> int:
    """Return how many vectors a loop moves to or from the stack."""
    return sum("(%rsp)" in line or "(%rbp)" in line for line in body.splitlines() if "mm" in line)


def shapes(tier: str) -> list[Shape]:
    return [Shape(rows, vectors, 1) for rows, vectors in TILES[tier]]


@pytest.mark.parametrize("codes", [INT8, UINT8], ids=["int8", "uint8"])
@pytest.mark.parametrize("tier", QUADS)
def test_quads_are_one_instruction(tier: str, codes: Codes) -> None:
    for shape in shapes(tier):
        body = innermost(assembly(tier, codes, shape, Requant.DOUBLE_ROUNDING), "vpdpbusd")
        dots = [line for line in body.splitlines() if "vpdpbusd" in line]
        register = "%zmm" if tier == "vnni512" else "%ymm"
        assert len(dots) % (shape.rows * shape.vectors) == 0
        assert all(register in line for line in dots)
        assert all(("{vex}" in line) == (tier == "avxvnni") for line in dots)
        assert "vpmaddubsw" not in body  # it saturates


@pytest.mark.parametrize("rule", [Requant.DOUBLE_ROUNDING, Requant.HALF_EVEN])
@pytest.mark.parametrize("tier", X86)
def test_accumulators_stay_in_registers(tier: str, rule: Requant) -> None:
    for codes in (INT8, INT16) if tier in QUADS else (INT16,):
        instruction = {"vnni512": "vpdp", "avxvnni": "vpdp", "avx2": "vpmaddwd"}.get(tier, "pmadd")
        for shape in shapes(tier):
            body = innermost(assembly(tier, codes, shape, rule), instruction)
            assert spills(body) == 0, (tier, codes, shape)


def test_avx2_multiplies_pairs_and_fuses_nothing() -> None:
    for shape in shapes("avx2"):
        text = assembly("avx2", INT16, shape, Requant.DOUBLE_ROUNDING)
        body = innermost(text, "vpmaddwd")
        assert body.count("vpmaddwd") % (shape.rows * shape.vectors) == 0
        assert not re.search("vpdp|zmm", text)


def test_generic_is_sse2() -> None:
    for shape in shapes("generic"):
        text = assembly("generic", INT16, shape, Requant.DOUBLE_ROUNDING)
        assert "pmaddwd" in innermost(text, "pmaddwd")
        assert not re.search(r"ymm|zmm|\bv\w+mm", text)


@pytest.mark.parametrize("codes", [Codes(1, False, True), Codes(1, True, True)])
def test_arm_dot_products_are_one_instruction(codes: Codes) -> None:
    for shape in shapes("neon_dot"):
        body = innermost(assembly("neon_dot", codes, shape, Requant.DOUBLE_ROUNDING), "sdot")
        dots = re.findall(r"\bsdot\s+v\d+\.4s, v\d+\.16b, v\d+\.(?:16b|4b)", body)
        assert dots and len(dots) % (shape.rows * shape.vectors) == 0
        moves = [line for line in body.splitlines() if re.search(r"\bq\d+,.*\[sp", line)]
        assert not moves
