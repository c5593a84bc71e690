"""The energy of the self-supervised loss and its gradient, in one sweep over strips that fit the processor's cache.

With ordinary operations, the energy takes about ten passes over full planes for each of its twelve pairs of neighbours,
and autograd keeps most of the results. Here each strip in turn goes through all pairs in reused buffers, and only the
gradient is kept.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from restore_hub_retinex.energy import PAIRS, SIGMA, energy, yuv, yuv_transposed

PIXELS = 1 << 16  # in a strip, for each thread: 6 MB of buffers in float32, and not too many calls
# exp(-|dYUV|^2 / (2 sigma^2)) = 2^-|SCALE dYUV|^2, and exp2 is faster.
SCALE = math.sqrt(math.log2(math.e) / 2) / SIGMA
FAR = 1e18  # the padding's colour: float32 holds its square, and its weight to any real colour is zero


class Swept(torch.autograd.Function):
    """`energy`, with its gradient computed along with the value.

    `Swept.apply(stages, smoothness, fidelity, needed)` returns the energy, and the gradient if `needed`. Second
    derivatives, and the derivatives that `torch.func` takes, come from `energy` itself.
    """

    @staticmethod
    def forward(stages: Tensor, smoothness: float, fidelity: float, needed: bool) -> tuple[Tensor, Tensor | None]:
        gradient = torch.empty_like(stages) if needed else None
        return sweep(stages, smoothness, fidelity, gradient), gradient

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor | None]) -> None:
        stages, *ctx.weights, _ = inputs
        gradient = output[1]
        ctx.set_materialize_grads(False)
        if gradient is not None:
            ctx.mark_non_differentiable(gradient)
        ctx.save_for_backward(stages, gradient)
        ctx.save_for_forward(stages)
        ctx.spent = gradient is None

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor | None, _: None) -> tuple[Tensor | None, None, None, None]:
        if cotangent is None:
            return None, None, None, None
        stages, gradient = ctx.saved_tensors
        if torch.is_grad_enabled():  # this pass is itself differentiated
            total = energy(stages, *ctx.weights)
            return torch.autograd.grad(total, stages, cotangent, create_graph=True)[0], None, None, None
        if ctx.spent:
            gradient = torch.empty_like(stages)
            sweep(stages, *ctx.weights, gradient)
        # The kept gradient becomes the result, because allocating its memory costs two pairs. Through `data`,
        # or autograd would deny a second pass the saved tensors; that pass computes its own gradient.
        ctx.spent = True
        return gradient.data.mul_(cotangent), None, None, None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: None) -> tuple[Tensor, None]:
        (stages,) = ctx.saved_tensors
        return torch.func.jvp(lambda x: energy(x, *ctx.weights), (stages,), (tangent,))[1], None

    @staticmethod
    def vmap(_: Any, axes: tuple[int | None, ...], stages: Tensor, *weights: float) -> tuple[Any, Any]:
        totals = torch.vmap(lambda x: energy(x, *weights[:2]), axes[0])(stages)
        return (totals, None), (0, None)


def sweep(stages: Tensor, smoothness: float, fidelity: float, gradient: Tensor | None) -> Tensor:
    """Return `energy(stages, smoothness, fidelity)`, and write its gradient into `gradient` unless that is `None`.

    The sums of the strips are added in float64.
    """
    n, channels, h, w = stages.shape
    # Accelerators have no such cache, and each operation takes time to launch.
    pixels = PIXELS * torch.get_num_threads() if stages.device.type == "cpu" else n * (h + 2) * (w + 2)
    count = max(1, math.ceil(h / max(1, pixels // (w + 2))))
    rows = max(1, math.ceil(h / count))
    pictures = max(1, min(n, pixels // ((h + 2) * (w + 2)))) if count == 1 else 1
    strip = _Strip(stages, pictures, rows)
    total = torch.zeros((), dtype=torch.float64, device=stages.device)
    for stage in range(0, channels, 6):
        for first in range(0, n, pictures):
            for top in range(0, h, rows):
                here = slice(first, first + pictures), slice(stage, stage + 6)
                part = stages[(*here, slice(top, top + rows + 2))]
                strip.load(part)
                total += 2 * smoothness * strip.pairs(gradient is not None, top > 0)
                error = part[:, 3:, :rows] - part[:, :3, :rows]
                total += fidelity / 3 * error.square().sum()
                if gradient is not None:
                    colour, light = strip.slopes_of(error.shape)
                    out = gradient[(*here, slice(top, top + rows))]
                    error *= 2 / 3 * fidelity
                    colour = yuv_transposed(colour * (-2 * smoothness / (SIGMA**2 * SCALE)))
                    torch.sub(colour, error, out=out[:, :3])
                    torch.add(error, light, alpha=2 * smoothness, out=out[:, 3:])
    return total.to(stages.dtype)


class _Strip:
    """Buffers for some rows of a picture, or for several whole pictures, and two more rows below each.

    A plane is flat, with two columns of padding after each row, so a neighbour is at a fixed distance and every
    operation runs through contiguous memory. The padding's colour is so far away that its weights are zero.
    """

    def __init__(self, like: Tensor, pictures: int, rows: int) -> None:
        width = like.shape[3] + 2
        size = pictures * (rows + 2) * width
        self._halo = 2 * width  # the last two rows, whose pairs are in the next strip
        self._span = span = size - self._halo
        self._planes = like.new_empty(6, size + 2)  # SCALE YUV of the input, RGB of the illumination
        self._slopes = like.new_empty(6, size + 2)  # sum of the pairs' slopes
        self._grids = [t[:, :size].view(6, pictures, rows + 2, width) for t in (self._planes, self._slopes)]
        self._work = like.new_empty(11, span)
        self._sums = like.new_empty(len(PAIRS))
        offsets = [dy * width + dx for dy, dx in PAIRS]
        self._theres = [(self._planes[:, o : o + span], self._slopes[:, o : o + span]) for o in offsets]

    def load(self, part: Tensor) -> None:
        """Load stages (n, 6, h, w) into the buffers."""
        n, _, h, w = part.shape
        self._planes[:3] = FAR
        self._planes[3:] = 0
        inside = self._grids[0][:, :n, :h, :w].transpose(0, 1)
        torch.mul(yuv(part[:, :3]), SCALE, out=inside[:, :3])
        inside[:, 3:] = part[:, 3:]

    def pairs(self, slopes: bool, goes_on: bool) -> Tensor:
        """Return the sum of w |di|_1 over all pairs, and add up the slopes; `goes_on` after another strip's."""
        differences, squares, weight, product = torch.split(self._work, [6, 3, 1, 1])
        colour, light = differences[:3], differences[3:]
        weight, product = weight[0], product[0]
        first, second, third = squares
        here, slopes_here = self._planes[:, : self._span], self._slopes[:, : self._span]
        if slopes:
            self._begin(goes_on)
        for (there, slopes_there), total in zip(self._theres, self._sums, strict=True):
            torch.sub(there, here, out=differences)
            torch.mul(colour, colour, out=squares)
            torch.add(first, second, out=weight).add_(third).neg_().exp2_()
            torch.abs(light, out=squares)
            torch.add(first, second, out=product).add_(third).mul_(weight)
            torch.sum(product, 0, out=total)
            if slopes:
                colour *= product
                light.sign_().mul_(weight)
                slopes_there += differences
                slopes_here -= differences
        return self._sums.sum(dtype=torch.float64)

    def _begin(self, goes_on: bool) -> None:
        kept = self._slopes[:, self._span : self._span + self._halo].clone() if goes_on else 0
        self._slopes.zero_()
        self._slopes[:, : self._halo] = kept

    def slopes_of(self, shape: torch.Size) -> tuple[Tensor, Tensor]:
        """Return the sums of w |di|_1 dYUV SCALE and of w sign(di) at the first pixels, each (n, 3, h, w)."""
        n, _, h, w = shape
        inside = self._grids[1][:, :n, :h, :w].transpose(0, 1)
        return inside[:, :3], inside[:, 3:]
