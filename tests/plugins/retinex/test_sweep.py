"""The swept energy and its derivatives against the plain formula."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

import restore_hub_retinex.sweep as swept
from restore_hub_retinex.energy import energy
from restore_hub_retinex.losses import SelfSupervised

DOUBLE = torch.float64
WEIGHTS = {"smoothness": 0.7, "fidelity": 1.3}


def _stages(*shape: int, dtype: torch.dtype = DOUBLE) -> Tensor:
    drawn = torch.rand(shape, generator=torch.Generator().manual_seed(1), dtype=DOUBLE) * 0.3
    return drawn.to(dtype).requires_grad_()


def _loss(stages: Tensor) -> Tensor:
    return SelfSupervised(**WEIGHTS)(stages)[0]


def _plain(stages: Tensor) -> Tensor:
    return energy(stages, **WEIGHTS)


def _grad(function: Callable[[Tensor], Tensor], stages: Tensor) -> Tensor:
    return torch.autograd.grad(function(stages), stages)[0]


def _as_plain(stages: Tensor, rtol: float = 1e-12) -> None:
    torch.testing.assert_close(_loss(stages), _plain(stages), rtol=rtol, atol=rtol)
    torch.testing.assert_close(_grad(_loss, stages), _grad(_plain, stages), rtol=rtol, atol=rtol)
    with torch.no_grad():
        torch.testing.assert_close(_loss(stages), _plain(stages), rtol=rtol, atol=rtol)


@pytest.fixture
def small_strips(monkeypatch: pytest.MonkeyPatch) -> None:
    """Strips of 28 pixels, padding counted: four rows of a picture of width 5, or two pictures of 2 x 1."""
    monkeypatch.setattr(swept, "PIXELS", 28)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)


SIZES = [(1, 1), (1, 7), (7, 1), (2, 1), (2, 2), (5, 3), (3, 5), (4, 5), (5, 5), (8, 5), (9, 5)]
SIZES += [(3, 40), (0, 4), (4, 0)]


@pytest.mark.usefixtures("small_strips")
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("stages", [1, 3])
def test_strips_of_all_heights(size: tuple[int, int], stages: int) -> None:
    _as_plain(_stages(3, 6 * stages, *size))


@pytest.mark.parametrize("size", SIZES)
def test_a_strip_of_several_pictures(size: tuple[int, int]) -> None:
    _as_plain(_stages(5, 12, *size))


@pytest.mark.usefixtures("small_strips")
@pytest.mark.parametrize("view", ["channels-last", "crop", "step", "expanded", "transposed"])
def test_layouts(view: str) -> None:
    base = _stages(3, 18, 9, 11)
    views = {
        "channels-last": base[:, :12].contiguous(memory_format=torch.channels_last),
        "crop": base[:, 2:14, 1:8, 2:7],
        "step": base[::2, :12, ::2, ::2],
        "expanded": base[:1, :6].expand(3, 6, 9, 11),
        "transposed": base[:, :12].transpose(2, 3),
    }
    _as_plain(views[view])


def test_channels_last_comes_back_so() -> None:
    stages = _stages(2, 12, 9, 11).detach().contiguous(memory_format=torch.channels_last).requires_grad_()
    assert _grad(_loss, stages).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("part", [slice(0, 3), slice(3, 6)])
def test_a_part_that_needs_a_gradient(part: slice) -> None:
    fixed = _stages(1, 6, 6, 7).detach()
    piece = fixed[:, part].clone().requires_grad_()

    def within(function: Callable[[Tensor], Tensor]) -> Tensor:
        return _grad(lambda p: function(torch.cat([fixed[:, : part.start], p, fixed[:, part.stop :]], 1)), piece)

    torch.testing.assert_close(within(_loss), within(_plain))


@pytest.mark.usefixtures("small_strips")
def test_first_and_second_derivatives() -> None:
    stages = _stages(1, 12, 5, 3)
    assert torch.autograd.gradcheck(_loss, (stages,))
    assert torch.autograd.gradgradcheck(_loss, (stages,))


def test_kinks_have_the_slope_zero() -> None:
    stages = torch.full((1, 6, 5, 5), 0.25, dtype=DOUBLE, requires_grad=True)
    assert torch.equal(_grad(_loss, stages), torch.zeros_like(stages))


def test_backward_passes_again_and_with_other_cotangents() -> None:
    stages = _stages(1, 6, 6, 7)
    total, expected = _loss(stages), _grad(_plain, stages)
    found = [torch.autograd.grad(total, stages, torch.tensor(c, dtype=DOUBLE), retain_graph=True)[0] for c in (2, 0, 3)]
    for scale, gradient in zip((2, 0, 3), found, strict=True):
        torch.testing.assert_close(gradient, scale * expected)
    (recorded,) = torch.autograd.grad(total, stages, create_graph=True)
    torch.testing.assert_close(recorded, expected)
    assert recorded.requires_grad


@pytest.mark.parametrize("early_stop", [True, False])
def test_checkpointing(early_stop: bool) -> None:
    stages = _stages(1, 6, 6, 7)

    def through(x: Tensor) -> Tensor:
        value = checkpoint(lambda y: _loss(y * y), x, use_reentrant=False, early_stop=early_stop)
        assert isinstance(value, Tensor)
        return value

    torch.testing.assert_close(_grad(through, stages), _grad(lambda x: _plain(x * x), stages))
    slopes = [
        torch.autograd.grad(torch.autograd.grad(f(stages), stages, create_graph=True)[0].square().sum(), stages)[0]
        for f in (through, lambda x: _plain(x * x))
    ]
    torch.testing.assert_close(*slopes)


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:FutureWarning")  # by torch.func.jvp itself
def test_function_transforms() -> None:
    stages, along = _stages(2, 1, 6, 4, 5).detach(), _stages(1, 6, 4, 5).detach().flip(2)
    transforms: list[Callable[[Callable[[Tensor], Tensor]], Tensor]] = [
        lambda f: torch.func.grad(f)(stages[0]),
        lambda f: torch.func.vmap(f)(stages),
        lambda f: torch.func.vmap(f, in_dims=2)(stages.movedim(0, 2)),
        lambda f: torch.func.vmap(torch.func.grad(f))(stages),
        lambda f: torch.func.grad(lambda x: torch.func.vmap(f)(x).square().sum())(stages),
        lambda f: torch.func.jvp(f, (stages[0],), (along,))[1],
        lambda f: torch.func.jvp(torch.func.grad(f), (stages[0],), (along,))[1],
        lambda f: torch.func.grad(lambda x: torch.func.jvp(f, (x,), (along,))[1])(stages[0]),
        lambda f: torch.func.grad(lambda x: (torch.func.grad(f)(x) * along).sum())(stages[0]),
        lambda f: torch.func.vmap(lambda x: torch.func.jvp(f, (x,), (along,))[1])(stages),
    ]
    for transform in transforms:
        torch.testing.assert_close(transform(_loss), transform(_plain))


@pytest.mark.parametrize("needed", [False, True])
def test_meta_tensors(needed: bool) -> None:
    stages = torch.empty(2, 12, 64, 64, device="meta", requires_grad=needed)
    total = _loss(stages)
    assert (total.shape, total.dtype, total.requires_grad) == ((), torch.float32, needed)
    if needed:
        assert torch.autograd.grad(total, stages)[0].shape == stages.shape


def test_half_precision_gets_its_own_gradient() -> None:
    stages = _stages(1, 6, 9, 11, dtype=torch.bfloat16)
    assert _loss(stages).dtype == torch.float32
    assert _loss(stages).item() == pytest.approx(_plain(stages.double()).item(), rel=0.02)
    exact = _grad(_plain, stages.detach().float().requires_grad_())
    torch.testing.assert_close(_grad(_loss, stages), exact.bfloat16(), rtol=0.01, atol=0.01)


def test_float32_is_as_accurate_as_the_plain_formula() -> None:
    stages = _stages(1, 6, 512, 512, dtype=torch.float32)
    exact = stages.detach().double().requires_grad_()
    errors = [float(abs(f(stages).detach().double() - _plain(exact).detach())) for f in (_loss, _plain)]
    assert errors[0] <= max(errors[1], 1e-7 * float(_plain(exact).detach()))
    slopes = [float((_grad(f, stages).double() - _grad(_plain, exact)).norm()) for f in (_loss, _plain)]
    assert slopes[0] <= 1.5 * slopes[1]


def test_only_the_input_and_one_gradient_are_kept() -> None:
    stages = _stages(2, 6, 64, 64)
    kept: list[int] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: (kept.append(t.nbytes), t)[1], lambda t: t):
        _loss(stages)
    assert sum(kept) == 2 * stages.nbytes
