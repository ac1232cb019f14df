"""The passes of the block engine that a layer becomes.

Source of the decomposition of a softmax: Arm Vela 5.2.0 (Apache-2.0): maximum, difference through
a table of exponentials, a 32-bit sum, its reciprocal by three Newton steps, a product, a shift.
"""

from dataclasses import replace

from hwsim.workload import Layer, Work

from .block_pass import Output, Pass, Plane, Stage

_MATRICES = (Work.FULLY_CONNECTED, Work.RECURRENT)
_WINDOWED = (Work.CONV, Work.DEPTHWISE, Work.POOL)
_LARGEST_POOL_STRIDE = 3  # a pooling of larger steps is cut into its windows
_NEWTON_STEPS = 3
_NEWTON_STEP = (False, True, False, True, False)  # which of its passes take a constant


def passes_of(layer: Layer) -> list[Pass]:
    """Return what the engine does for a layer, in order.

    Nothing for data movement, nor for a table that the layer before holds in its output stage.
    """
    if layer.work is Work.MOVE or not layer.out_elements or layer.rides:
        return []
    if layer.work is Work.SOFTMAX:
        return _softmax(_plane(layer.out_shape))
    if layer.work is Work.MATMUL:
        return _matmul(layer)
    if layer.work is Work.REDUCE:
        return _mean(layer)
    single = _single(layer)
    if layer.work is Work.CONV and layer.groups > 1:
        return [single] * layer.groups
    if single.stage is Stage.POOL and max(single.stride) > _LARGEST_POOL_STRIDE:
        high, wide, deep = single.ofm
        window = (*single.kernel, deep)
        return [replace(single, ifm=window, ofm=(1, 1, deep), stride=(1, 1))] * (high * wide)
    return [single]


def _single(layer: Layer) -> Pass:
    """Return the one pass of a layer."""
    out, into = _out_plane(layer), _in_plane(layer)
    stage, output, operands = Stage.ELEMENTWISE, Output.ADD, 2
    if layer.work is Work.DEPTHWISE:
        stage, output, operands = Stage.DEPTHWISE, Output.DEFAULT, 1
    elif layer.work is Work.CONV or layer.work in _MATRICES:
        stage, output, operands = Stage.CONV, Output.DEFAULT, 1
    elif layer.work is Work.POOL:
        maximum = layer.operator == "MAX_POOL_2D"
        stage, output, operands = Stage.POOL, Output.MAX_POOL if maximum else Output.DEFAULT, 1
    elif layer.work is Work.TABLE:
        stage, output, operands = Stage.POOL, Output.TABLE, 1
    elif layer.operator == "MUL":
        output = Output.MULTIPLY
    global_pool = layer.work is Work.POOL and out[:2] == (1, 1)
    return Pass(
        stage=stage,
        ifm=into if stage is not Stage.ELEMENTWISE else out,
        ofm=out,
        kernel=layer.kernel if layer.work in _WINDOWED else (1, 1),
        stride=layer.stride if layer.work in _WINDOWED and not global_pool else (1, 1),
        output=output,
        linear_in=layer.linear_in,
        linear_out=layer.linear_out,
        operands=operands,
        biased=layer.weight_elements > 0,
    )


def _mean(layer: Layer) -> list[Pass]:
    """Return the passes of a mean over a plane: a depthwise sum by ones, and a product."""
    into = _plane(layer.in_shape) if layer.in_shape else (1, 1, layer.out_elements)
    depth = layer.out_elements if layer.out_elements % into[2] else into[2]
    rows = max(layer.out_elements // depth, 1)
    kernel = (max(into[0] // rows, 1), into[1])
    total = Pass(
        Stage.DEPTHWISE, (into[0], into[1], depth), (rows, 1, depth), kernel,
        ofm_bits=32, linear_in=layer.linear_in,
    )  # fmt: skip
    return [total, replace(_wide(total.ofm, linear_out=layer.linear_out), constant=True)]


def _plane(shape: tuple[int, ...]) -> Plane:
    """Return (height, width, channels) of a shape; what lies before them is height."""
    sizes = (1, 1, 1, *shape)
    rows = 1
    for size in sizes[:-2]:
        rows *= size
    return (rows, sizes[-2], sizes[-1])


def _out_plane(layer: Layer) -> Plane:
    """Return the output plane; the rows of a matrix are its width."""
    if layer.work in _MATRICES:
        return (1, layer.m, layer.n)
    if layer.work is Work.CONV and len(layer.out_shape) != 4:
        return (1, layer.m, layer.n)
    high, wide, deep = _plane(layer.out_shape)
    return (high, wide, deep // layer.groups if layer.work is Work.CONV else deep)


def _in_plane(layer: Layer) -> Plane:
    """Return the input plane, as large as the window needs where nobody stated it."""
    if layer.work in _MATRICES:
        return (1, layer.m, layer.k)
    if len(layer.in_shape) == 4:
        high, wide, deep = _plane(layer.in_shape)
        return (high, wide, deep // layer.groups if layer.work is Work.CONV else deep)
    high, wide, deep = _out_plane(layer)
    if layer.work is Work.CONV:
        deep = max(layer.k // (layer.kernel[0] * layer.kernel[1]), 1)
    stride = layer.stride
    return (
        (high - 1) * stride[0] + layer.kernel[0],
        (wide - 1) * stride[1] + layer.kernel[1],
        deep,
    )


def _matmul(layer: Layer) -> list[Pass]:
    """Return the passes of a product of two feature maps.

    The engine multiplies a feature map by weights only: every output column of every group is an
    elementwise product over all rows, in 32 bits, and a sum along the depth.
    """
    product = Pass(
        Stage.ELEMENTWISE, (1, layer.m, layer.k), (1, layer.m, layer.k),
        output=Output.MULTIPLY, ofm_bits=32, operands=2, linear_out=True,
    )  # fmt: skip
    total = Pass(Stage.REDUCE, (1, layer.m, layer.k), (1, layer.m, 1), ifm_bits=32, linear_in=True)
    return [product, total] * (layer.n * layer.groups)


def _softmax(plane: Plane) -> list[Pass]:
    """Return the passes of a softmax along the depth of a plane."""
    rows, depth = plane[0] * plane[1], plane[2]
    full, one = (1, rows, depth), (1, rows, 1)
    maximum = Pass(
        Stage.POOL, (rows, depth, 1), (rows, 1, 1), (1, depth), output=Output.MAX_POOL,
        linear_in=True, linear_out=True,
    )  # fmt: skip
    exponential = Pass(Stage.ELEMENTWISE, full, full, output=Output.ADD, ofm_bits=32, operands=2)
    total = Pass(Stage.REDUCE, full, one, ifm_bits=32, ofm_bits=32, linear_in=True)
    return [
        maximum,
        exponential,
        _wide(full, constant=True, linear_out=True),
        total,
        _wide(one, operands=1),
        *(_wide(one, constant=constant) for constant in (True, True, False, True, True)),
        *(_wide(one, constant=constant) for constant in _NEWTON_STEP * _NEWTON_STEPS),
        _wide(full),
        _wide(full, constant=True, linear_out=True),
        _wide(full, linear_out=True),
    ]


def _wide(
    plane: Plane, *, operands: int = 2, constant: bool = False, linear_out: bool = False
) -> Pass:
    """Return an elementwise pass on 32 bits."""
    return Pass(
        Stage.ELEMENTWISE, plane, plane,
        output=Output.WIDE if operands == 2 else Output.WIDE_UNARY,
        ifm_bits=32, ofm_bits=32, operands=operands, constant=constant, linear_out=linear_out,
    )  # fmt: skip
