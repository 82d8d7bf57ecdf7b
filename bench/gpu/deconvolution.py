"""The network's transposed convolutions: cuDNN's, and the plain convolution that is the same."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from bench.gpu.run import Run
from bench.gpu.timing import rate_of, seconds_each

Output = Callable[[Tensor, Tensor], Tensor]
LAYERS = ((2048, 1024, 8), (1024, 512, 16), (512, 256, 32))
"""Channels in and out, and the input's side, of the full network at 256x256."""
SMALL_LAYERS = ((16, 16, 8),)


def measure(run: Run) -> None:
    torch.backends.cudnn.benchmark = True
    size = 2 if run.is_small else 64
    for layer in SMALL_LAYERS if run.is_small else LAYERS:
        run.attempt(f"batch {size}, layer {layer}", partial(one_layer, run, size, *layer))


def one_layer(run: Run, size: int, inputs: int, outputs: int, side: int) -> None:
    """Forward, and forward and backward, each way."""
    x = _random(run, size, inputs, side, side)
    weight = _random(run, inputs, outputs, 4, 4)
    upstream = torch.randn_like(transposed(x, weight))

    def forward(way: Output) -> None:
        with torch.no_grad():
            way(x, weight)

    def both(way: Output) -> None:
        torch.autograd.grad(way(x, weight), (x, weight), upstream)

    tflop = 2 * 16 * inputs * outputs * side**2 * size / 1e12
    for name, way in (("transposed", transposed), ("subpixel", subpixel)):
        one, *_ = rate_of(tflop, seconds_each(partial(forward, way), run.seconds / 2))
        three, *_ = rate_of(3 * tflop, seconds_each(partial(both, way), run.seconds / 2))
        what = f"batch {size}, {inputs} to {outputs} channels from {side}x{side}, {name}"
        text = f"{one:.3g} TFLOP/s forward, {three:.3g} forward and backward"
        run.row(what, text, forward=one, both=three)


def _random(run: Run, *shape: int) -> Tensor:
    found = torch.randn(shape, device=run.device, dtype=torch.bfloat16)
    return found.contiguous(memory_format=torch.channels_last).requires_grad_()


def transposed(x: Tensor, weight: Tensor) -> Tensor:
    """As the network has it: (B, I, h, w) and (I, O, 4, 4) to (B, O, 2h, 2w)."""
    return functional.conv_transpose2d(x, weight, stride=2, padding=1)


def subpixel(x: Tensor, weight: Tensor) -> Tensor:
    """The same as one 2x2 convolution, of which each parity of the output takes a quarter.

    Of the kernel's rows, those that reach an even row of the output from two rows of the input are
    3 and 1, and an odd one 2 and 0; of its columns alike.
    """
    inputs, outputs = weight.shape[:2]
    # (I, O, 2, row's parity, 2, column's parity), as a view: an index would be slow backward.
    taps = weight.flip((2, 3)).view(inputs, outputs, 2, 2, 2, 2)
    kernel = taps.permute(3, 5, 1, 0, 2, 4).reshape(4 * outputs, inputs, 2, 2)
    quarters = functional.conv2d(x, kernel.contiguous(memory_format=torch.channels_last), padding=1)
    size, _, height, width = x.shape
    quarters = quarters.view(size, 2, 2, outputs, height + 1, width + 1)
    found = x.new_empty(size, outputs, 2 * height, 2 * width)
    found = found.contiguous(memory_format=torch.channels_last)
    for row in range(2):
        for column in range(2):
            quarter = quarters[:, row, column, :, row : row + height, column : column + width]
            found[:, :, row::2, column::2] = quarter
    return found
