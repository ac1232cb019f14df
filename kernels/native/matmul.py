"""Products of two activations: one operand is packed as it goes."""

import math
from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np

from hwsim.attributes import MatMulAttrs
from hwsim.kernels.arith import Scaling
from hwsim.kernels.jit import native
from hwsim.kernels.scaling import Site
from hwsim.quant import IntType
from hwsim.verify import centered_range

from .call import SCRATCH, Native, NativeCall, Place, Work
from .layout import NO_HALO, Layout
from .matrix import Constants, Product, best_shape, bordered
from .matrix_kernel import matrix_kernel
from .memory import array, int64s, pointer
from .pack_kernel import pack_group
from .packing import pack_factors, read_wide, turned_zero
from .target import Tier
from .tile import Field, Variant

_PADDING = 64
ALIGNMENT = 64


def matmul(tier: Tier, site: Site, constants: Constants, bits: int) -> Native | None:
    """Return MATMUL as machine code: a of any batch, b of the same batch or of none."""
    attrs, a, b, out = site.node.attrs, site.operand(0), site.operand(1), site.result()
    assert isinstance(attrs, MatMulAttrs)
    scaling = constants["requantize"]
    assert isinstance(scaling, Scaling)
    batch = math.prod(out.shape[:-2])
    own = [math.prod(value.shape[:-2]) for value in (a, b)]
    if bits > 32 or attrs.transpose_a or own[0] != batch or own[1] not in (1, batch):
        return None
    if 0 in out.shape or not a.shape[-1]:
        return None
    (rows, depth), columns = a.shape[-2:], out.shape[-1]
    low_high = np.array(centered_range(b), np.int64)
    codes = read_wide(site.integer(a), low_high, tier)
    factors = pack_factors(scaling, columns, site.integer(out).bits, bits)
    if codes is None or factors is None:
        return None
    shape = best_shape(tier, rows, columns, site.integer(out), factors)
    width = shape.vectors * tier.lanes
    groups, panels = -(-depth // codes.group), -(-columns // width)
    weight_bytes = panels * groups * width * 4
    bias_bytes = 4 * (panels * width + _PADDING)
    matrices = own[1]
    pack = _pack(tier, _kind(site.integer(b)), codes.group, width)
    made = Product(
        matrix_kernel(Variant(tier, codes, shape, factors.rule)), shape, codes, 1, groups,
        np.zeros(0, np.int8), np.zeros(0, np.int32), factors, columns,
    )  # fmt: skip

    def work(layouts: Mapping[str, Layout]) -> Work:
        size = layouts[b.name].size
        biases = Place(SCRATCH, matrices * weight_bytes)
        along_k, along_n = (size, depth * size) if attrs.transpose_b else (columns * size, size)
        packing = NativeCall(
            pack,
            (
                Place(b.name), along_k // size, along_n // size, depth, columns, matrices,
                Place(SCRATCH), weight_bytes, biases, bias_bytes, int(site.zero_of(b)),
                turned_zero(int(site.zero_of(a)), site.integer(a), codes),
            ),
        )  # fmt: skip
        packed_bytes = matrices * (weight_bytes + bias_bytes)
        place, _, calls, scratch = bordered(
            a, layouts[a.name], NO_HALO, codes.size, packed_bytes + -packed_bytes % ALIGNMENT
        )
        line = np.arange(rows)
        call = made.call(
            place, line * depth * codes.size, np.zeros(1, np.int64),
            Place(out.name), line * columns * shape.out_size, batch,
            (rows * depth * codes.size, rows * columns * shape.out_size),
        )  # fmt: skip
        words = list(call.words)
        words[Field.WEIGHTS], words[Field.BIAS] = Place(SCRATCH), biases
        if matrices > 1:
            words[Field.WEIGHTS_IMAGE], words[Field.BIAS_IMAGE] = weight_bytes, bias_bytes
        multiplied = NativeCall(call.kernel, tuple(words))
        return Work((packing, *calls, multiplied), scratch)

    return Native(work, flat=(a.name, b.name, out.name))


def _kind(dtype: IntType) -> str:
    return np.dtype(dtype.storage).name


@cache
def _pack(tier: Tier, kind: str, group: int, width: int) -> Any:
    """Return the kernel that centers and packs matrices (K, N) like `packing.pack_weights`.

    It also makes the biases: minus the zero point of the other operand times the sum of a column.
    Columns beyond the last hold what lies there: nobody stores their results.
    """
    packed_kind = "int8" if group == 4 else "int16"
    text, lanes, bytes_of = f"{tier.name} {kind} {group}", tier.lanes, np.dtype(kind).itemsize

    def pack(words: int) -> None:
        at = int64s(words, 12)
        step_k, step_n, depth, columns = at[1], at[2], at[3], at[4]
        zero, other = at[10], at[11]
        groups = (depth + group - 1) // group
        panels = (columns + width - 1) // width
        for matrix in range(at[5]):
            codes = array(pointer(at[0], kind), ((matrix + 1) * depth * columns,))
            start = matrix * depth * columns
            packed = array(
                pointer(at[6] + matrix * at[7], packed_kind), (panels * groups * width * group,)
            )
            sums = at[8] + matrix * at[9]
            bias = array(pointer(sums, "int32"), (panels * width,))
            bias[:] = 0
            for panel in range(panels):
                first = panel * width
                for g in range(groups):
                    here = (panel * groups + g) * width * group
                    if step_n == 1:
                        for n in range(0, width, lanes):
                            pack_group(
                                text,
                                at[0] + (start + first + n) * bytes_of,
                                step_k * bytes_of,
                                g * group,
                                depth,
                                zero,
                                at[6] + matrix * at[7] + 4 * (here // group + n),
                                sums + 4 * (first + n),
                            )
                    else:
                        packed[here : here + width * group] = 0
                        for n in range(min(width, columns - first)):
                            line = start + (first + n) * step_n
                            for k in range(g * group, min((g + 1) * group, depth)):
                                code = codes[line + k * step_k] - zero
                                packed[here + n * group + k - g * group] = code
                                bias[first + n] += np.int32(code)
            for n in range(panels * width):
                bias[n] = np.int32(-other * bias[n])

    return native(pack)
