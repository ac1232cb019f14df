"""The block of a pass on an Ethos-U55, block by block, from the rule of Arm Vela 5.2.0."""

from math import ceil

import numpy as np

single = np.float32


def up(value, step):
    return ceil(value / step) * step


def part_kernel(work):
    taps, depth = work.kernel[0] * work.kernel[1], work.ifm[2]
    if work.stage.value != "conv":
        return False
    by_depth = depth / up(depth, 32 if work.ifm_bits == 8 else 16)
    by_part = depth / up(depth, 8) * (taps / up(taps, 4 if work.ifm_bits == 8 else 2))
    return depth <= 8 or by_part >= by_depth


def best_block(engine, work):
    """Return ((ifm h, w, d), (ofm h, w, d)) of the block with the least traffic, or None."""
    kind = work.stage.value
    micro_h, micro_w, micro_d = engine.micro_block
    height, width, depth = work.ofm
    last_d = up(min(depth, 128), micro_d)
    best, best_cost, best_coverage = None, float("inf"), float("inf")
    deep = max(micro_d, min(last_d, 16))
    if deep < depth:
        deep = up(deep, 16)
    while deep <= last_d:
        for high in range(micro_h, up(min(height, 32), micro_h) + 1, micro_h):
            for wide in range(micro_w, up(min(width, 64), micro_w) + 1, micro_w):
                taps_h, taps_w = min(work.kernel[0], 8), min(work.kernel[1], 8)
                in_h = up((high - 1) * work.stride[0] + taps_h, micro_h)
                in_w = up((wide - 1) * work.stride[1] + taps_w, micro_w)
                if kind in ("conv", "reduce"):
                    if work.ifm_bits == 16:
                        in_d = up(min(work.ifm[2], 16), 4)
                    else:
                        in_d = up(min(work.ifm[2], 16 if part_kernel(work) else 32), 8)
                else:
                    in_d = deep
                one_row = height == 1 and work.kernel[0] == 1 and micro_h == 2
                rows = 1 if one_row else high
                if not fits(engine, work, (in_h, in_w, in_d), (rows, wide, deep)):
                    continue
                cost = traffic(work, (in_h, in_w), (rows, wide, deep))
                if work.ifm[0] * work.ifm[1] * work.ifm[2] < 2 * in_h * in_w * in_d:
                    cost = cost / single(2)
                found = ((in_h, in_w, in_d), (high, wide, deep))
                covered = min(in_h, work.ifm[0]) * min(in_w, work.ifm[1])
                coverage = work.ifm[0] * work.ifm[1] / covered
                if cost < best_cost:
                    best, best_cost, best_coverage = found, cost, float("inf")
                elif cost == best_cost and coverage <= best_coverage and high <= 4 and wide <= 4:
                    best, best_coverage = found, coverage
        deep += micro_d
        if deep < depth:
            deep = up(deep, 16)
    return best


def fits(engine, work, ifm, ofm):
    end = 2 if engine.banks > 16 or work.output.value == "table" else 0
    room = engine.banks - 2 - end
    granule = engine.input_granule * (2 if work.ifm_bits == 32 else 1)
    size = ifm[0] * ifm[1] * up(ifm[2] * work.ifm_bits // 8, 8)
    inputs = up(2 * ceil(size / 1024), granule)
    if work.stage.value == "elementwise":
        return work.operands * inputs <= room
    size = ofm[0] * ofm[1] * up(ofm[2], 8) * 4
    return inputs + up(2 * ceil(size / 1024), engine.accumulator_granule) <= room


def traffic(work, in_side, block):
    kind = work.stage.value
    codes = single(work.ofm[0] * work.ofm[1] * work.ofm[2])
    if kind == "elementwise":
        return codes / single(block[0] * block[1] * block[2])
    taps = work.kernel[0] * work.kernel[1]
    whole = [ceil(work.ofm[axis] / block[axis]) for axis in range(3)]
    part = [single(work.ofm[axis]) / single(block[axis]) for axis in range(3)]
    weights = single(0)
    if kind in ("conv", "depthwise"):
        weights = single(taps * work.ifm[2] * whole[0] * whole[1])
    if kind == "conv":
        weights = weights * (part[2] * single(block[2]))
    repeats = ceil(work.kernel[0] / 8) * ceil(work.kernel[1] / 8)
    inputs = single(in_side[0] * in_side[1] * work.ifm[2] * repeats) * part[1] * part[0]
    if kind in ("conv", "reduce"):
        inputs = inputs * single(whole[2])
    return (inputs + weights) / codes
