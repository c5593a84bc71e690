"""`check_network` accepts networks that keep the contract and names what is broken; every shipped component passes."""

from __future__ import annotations

import tomllib
from importlib.metadata import EntryPoint
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from restore_hub import plugins as plugins_module
from restore_hub.contracts import Port
from restore_hub.plugins import load_plugins
from restore_hub.ragged import Ragged
from restore_hub.registry import Component
from restore_hub.testing import check_component, check_network
from support import ROOT, kinds


def _first_party() -> list[Component]:
    """Return what the plugins of this repository register, installed or not."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    points = [EntryPoint(n, v, "restore_hub") for n, v in project["entry-points"]["restore_hub"].items()]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plugins_module, "entry_points", lambda **_: points)
        plugins = load_plugins.__wrapped__()
    failed = {p.namespace: p.error for p in plugins if p.error}
    if failed:
        raise RuntimeError(f"plugins of this repository fail to load: {failed}")
    return [component for plugin in plugins for component in plugin.components]


SMALL: dict[str, dict[str, Any]] = {
    "raw/unet": {"width": 4},  # the default has 8 million parameters
    "cleaning/hyper-cleaning": {"train": 40, "validation": 40, "test": 40},
}


CHECKED = [c for c in _first_party() if c.kind != "dataset"]


@pytest.mark.parametrize("component", CHECKED, ids=lambda c: f"{c.kind}:{c.name}")
def test_every_registered_component_keeps_its_contract(component: Component) -> None:
    check_component(component, **SMALL.get(component.name, {}))


class Good(nn.Module):
    """A small network that keeps the contract; those below break one promise each."""

    inputs: ClassVar[Any] = {"image": Port(3)}
    outputs: ClassVar[Any] = {"restored": Port(3)}
    size_multiple: ClassVar[Any] = 1

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, width, 3, padding=1)
        self.last = nn.Conv2d(width, 3, 3, padding=1)

    def forward(self, image: Tensor) -> Any:
        return image + self.last(torch.relu(self.first(image)))


class Counting(Good):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, image: Tensor) -> Any:
        self.calls += 1
        return super().forward(image)


class BatchStatisticsInTraining(Good):
    def forward(self, image: Tensor) -> Any:
        if self.training:
            image = (image - image.mean((0, 2, 3), keepdim=True)) / image.std((0, 2, 3), keepdim=True)
        return super().forward(image)


class DroppingAndNormalising(Good):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)

    def forward(self, image: Tensor) -> Any:
        return super().forward(nn.functional.dropout(self.norm(image), 0.1, self.training))


class Unused(Good):
    def __init__(self) -> None:
        super().__init__()
        self.spare = nn.Conv2d(3, 3, 1)


class Viewing(Good):
    def __init__(self) -> None:
        super().__init__()
        self.flat = [self.first.weight.flatten()]

    def forward(self, image: Tensor) -> Any:
        return super().forward(image) + self.flat[0].sum()


class Holding(Good):
    def __init__(self) -> None:
        super().__init__()
        self.holder = type("Holder", (), {"layer": self.last})()

    def forward(self, image: Tensor) -> Any:
        return image + self.last(torch.relu(self.first(image))) + self.holder.layer.bias.sum()


class Keeping(Good):
    def __init__(self) -> None:
        super().__init__()
        self.cache: dict[str, Tensor] = {}

    def forward(self, image: Tensor) -> Any:
        return super().forward(image) + self.cache.setdefault("bias", self.last.bias.detach().sum())


class Recomputing(Good):
    def __init__(self, reentrant: bool = False) -> None:
        super().__init__()
        self.reentrant, self.layers = reentrant, [self.first, self.last]

    def forward(self, image: Tensor) -> Any:
        for layer in self.layers:
            image = torch.sigmoid(checkpoint(layer, image, use_reentrant=self.reentrant))
        return image


class Reentrant(Recomputing):
    def __init__(self) -> None:
        super().__init__(reentrant=True)


class Forgetful(Good):
    def __init__(self) -> None:
        super().__init__()
        self.gain = 1.0 + 0.5 * float(np.random.default_rng().random())

    def forward(self, image: Tensor) -> Any:
        return super().forward(image) * self.gain


def _dropped(net: Good, image: Tensor) -> Any:
    """Depend on the batch beside a dropout, which draws the same for the same shapes."""
    image = nn.functional.dropout(image, 0.1, net.training)
    return _good(net, image - image.mean() if net.training else image)


_good = Good.forward
# What replaces attributes of `Good`, and what the check then says.
CHANGED: list[tuple[dict[str, Any], str]] = [
    ({"inputs": {}}, "Broken.inputs"),
    ({"forward": lambda s, picture: _good(s, picture)}, r"takes \['picture'\], but its input ports are \['image'\]"),
    ({"size_multiple": 0}, "size_multiple is 0"),
    ({"outputs": {"restored": Port(1)}}, "'restored' of a picture 1 x 1 is 3 along channel; its port says 1"),
    ({"outputs": {"restored": Port(3, scale=2)}}, r"its port says \(3, 2, 2\)"),
    ({"forward": lambda s, image: (_good(s, image), image)}, "returns 2 values"),
    ({"forward": lambda s, image: _good(s, image.unflatten(2, (-1, 2)).flatten(2, 3))}, r"fails on \(1, 3, 1, 1\)"),
    ({"forward": lambda s, image: _good(s, image) / 0}, "is not finite"),
    ({"forward": lambda s, image: _good(s, image).float()}, "of float64 is torch.float32"),
    ({"forward": lambda s, image: _good(s, image) + torch.rand_like(image)}, "differs between"),
    ({"forward": lambda s, image: _good(s, image - image.mean())}, "depends on other pictures in the batch"),
    ({"forward": lambda s, image: _dropped(s, image)}, "depends on other pictures in the batch"),
    ({"forward": lambda s, image: _good(s, image.detach())}, "no gradient reaches the input 'image'"),
    # A mask of the traced size.
    (
        {"forward": lambda s, image: _good(s, image) * torch.from_numpy(np.ones(len(range(image.shape[-1])), "f4"))},
        "can't be exported to ONNX",
    ),
    (
        {"forward": lambda s, image: _good(s, image) * (1.01 if torch.compiler.is_exporting() else 1.0)},
        "ONNX differs from PyTorch by",
    ),
]


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")  # of reentrant checkpoints
@pytest.mark.parametrize(
    ("network", "message"),
    [
        *((type("Broken", (Good,), changes), message) for changes, message in CHANGED),
        (Counting, "evaluation changes the state 'calls'"),
        (BatchStatisticsInTraining, "in training, 'restored' of a picture depends on other pictures in the batch"),
        (Viewing, "also reads the parameter 'first.weight' another way"),
        (Holding, "also reads the parameter 'last.bias' another way"),
        (Keeping, "keeps a value that it computed from the parameter 'last.bias'"),
        (Reentrant, "its gradient by chosen tensors fails: .*use_reentrant=False"),
        (Unused, "no gradient reaches the parameter 'spare.weight'"),
        (Forgetful, "saved and loaded|differs by"),
        (nn.Identity, "Identity.inputs"),
    ],
)
def test_a_broken_network_is_told_what_it_broke(network: type[nn.Module], message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_network(network)


@pytest.mark.parametrize("name", kinds.ALL)
def test_a_network_of_every_kind_passes(name: str) -> None:
    """Numbers, class maps, volumes and ragged values, in and out."""
    check_network(kinds.ALL[name])


class LeakingBoxes(kinds.Detector):
    def forward(self, image: Tensor) -> Any:
        image, boxes = super().forward(image)
        return image, Ragged(boxes.values - boxes.values.mean(), boxes.lengths)


class LongerBoxes(kinds.Detector):
    """Has as many boxes for each picture as there are pictures."""

    def forward(self, image: Tensor) -> Any:
        image = self.first(image)
        return image, Ragged.of([torch.sigmoid(self.box(sample.mean(1).T[: len(image)])) for sample in image])


class PlainBoxes(kinds.Detector):
    def forward(self, image: Tensor) -> Any:
        image, boxes = super().forward(image)
        return image, boxes.values


class LeakingClasses(kinds.Segmenter):
    def forward(self, image: Tensor) -> Any:
        scores = self.scores(image)
        return (scores - scores.mean((0, 2, 3), keepdim=True)).argmax(1), scores


class FloatClasses(kinds.Segmenter):
    def forward(self, image: Tensor) -> Any:
        classes, scores = super().forward(image)
        return classes.to(scores.dtype), scores


class FoldedNumber(kinds.Scaled):
    """Exports a number as a constant."""

    def forward(self, factor: Tensor, image: Tensor, offset: Tensor) -> Any:
        return super().forward(torch.full_like(factor, 1.3) if torch.compiler.is_exporting() else factor, image, offset)


class Deaf(kinds.Scaled):
    def forward(self, factor: Tensor, image: Tensor, offset: Tensor) -> Any:
        return self.mix(image) + offset[:, None, None, None]


class FlatVolume(kinds.Blur3d):
    def forward(self, volume: Tensor) -> Any:
        return super().forward(volume).mean(2, keepdim=True)


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (LeakingBoxes, "'boxes' of a picture depends on other pictures"),
        (LongerBoxes, "'boxes' of a picture depends on other pictures"),
        (PlainBoxes, "'boxes' is a Tensor; its port says Ragged"),
        (LeakingClasses, "'classes' of a picture depends on other pictures"),
        (FloatClasses, "'classes' of a picture 1 x 1 is float32; its port says int64"),
        (FoldedNumber, "ONNX differs from PyTorch"),
        (Deaf, "no gradient reaches the input 'factor'"),
        (FlatVolume, r"'volume' of a picture 1 x 1 is \(2, 1, 1, 1\); its port says \(2, 3, 1, 1\)"),
    ],
)
def test_a_broken_network_of_any_kind_is_told_what_it_broke(network: type[nn.Module], message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_network(network)


class Grid(nn.Module):
    """The place of each pixel: a constant that only needs the picture's size."""

    inputs: ClassVar = {"image": Port(3)}
    outputs: ClassVar = {"places": Port(2, "map")}
    size_multiple = 1

    def forward(self, image: Tensor) -> Any:
        rows, columns = torch.ones_like(image[:, :1]).cumsum(2), torch.ones_like(image[:, :1]).cumsum(3)
        return torch.cat([rows, columns], 1)


class Bright(Grid):
    outputs: ClassVar = {"places": Port.classes(2)}

    def forward(self, image: Tensor) -> Any:
        return (image.mean(1) > 0.5).long()


class Cut(Grid):
    outputs: ClassVar = {"places": Port(3)}

    def forward(self, image: Tensor) -> Any:
        return 2 * image.detach()


class FromNothing(Grid):
    inputs: ClassVar = {}

    def forward(self) -> Any:
        return torch.zeros(1, 2, 4, 4)


@pytest.mark.parametrize("network", [Grid, Bright])
def test_a_network_without_weights_needs_no_gradient_where_there_can_be_none(network: type[nn.Module]) -> None:
    check_network(network)


@pytest.mark.parametrize(("network", "message"), [(Cut, "no gradient flows"), (FromNothing, "inputs is empty")])
def test_it_may_neither_cut_a_gradient_nor_take_nothing(network: type[nn.Module], message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_network(network)


def test_good_network_passes_as_class_and_as_instance() -> None:
    network = Good(width=2).train()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    check_network(network)
    assert network.training
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())


def test_global_random_state_is_left_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    with pytest.raises(AssertionError, match="spare"):
        check_network(Unused)
    assert torch.equal(torch.rand(3), expected)


def test_checkpoints_that_are_not_reentrant_and_lists_of_layers_pass() -> None:
    check_network(Recomputing)


def test_dropout_and_torch_s_batch_normalisation_pass() -> None:
    check_network(DroppingAndNormalising)


def test_options_with_an_instance_are_refused() -> None:
    with pytest.raises(AssertionError, match="options need a class"):
        check_network(Good(), width=3)
