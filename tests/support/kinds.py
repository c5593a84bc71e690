"""A small network of each kind that ports allow, as somebody's plugin."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from restore_hub import hookimpl
from restore_hub.contracts import Port
from restore_hub.ragged import Ragged

BOX = Port.several("box", coordinate=4)
VOLUME = ("channel", "z", "y", "x")


class Scaled(nn.Module):
    """A picture times a number, which has no default, plus a number that has one."""

    inputs = {"factor": Port.number(0.5, 2), "image": Port(3), "offset": Port.number(-1, 1, default=0.25)}
    outputs, size_multiple = {"image": Port(3)}, 1

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Conv2d(3, 3, 1)

    def forward(self, factor: Tensor, image: Tensor, offset: Tensor) -> Tensor:
        return self.mix(image * factor[:, None, None, None] + offset[:, None, None, None])


class Ramp(nn.Module):
    """A picture of a number alone, which no chain can run: nothing tells how many samples there are."""

    inputs, outputs, size_multiple = {"slope": Port.number()}, {"image": Port(3)}, 1

    def forward(self, slope: Tensor) -> Tensor:
        return slope[:, None, None, None].expand(-1, 3, 4, 4)


class Estimator(nn.Module):
    """One number for each picture."""

    inputs, outputs, size_multiple = {"image": Port(3)}, {"sigma": Port.number(0, 0.3)}, 1

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(3, 1)

    def forward(self, image: Tensor) -> Tensor:
        return 0.3 * torch.sigmoid(self.last(image.mean((2, 3))))[:, 0]


class Planes(nn.Module):
    """RAW planes with less of what a number says."""

    inputs = {"raw": Port(4, "raw", scale=0.5), "level": Port.number(0, 1)}
    outputs, size_multiple = {"raw": Port(4, "raw", scale=0.5)}, 1

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, raw: Tensor, level: Tensor) -> Tensor:
        return raw - level[:, None, None, None] * self.mix(raw)


class Segmenter(nn.Module):
    """A class for each pixel, beside what the classes come from."""

    inputs, size_multiple = {"image": Port(3)}, 1
    outputs = {"classes": Port.classes(5), "scores": Port(5, "map", -9, 9)}

    def __init__(self) -> None:
        super().__init__()
        self.scores = nn.Conv2d(3, 5, 3, padding=1)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        scores = self.scores(image)
        return scores.argmax(1), scores


class Colours(nn.Module):
    """A colour for each class: integers in."""

    inputs, outputs, size_multiple = {"classes": Port.classes(5)}, {"image": Port(3)}, 1

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(5, 3)

    def forward(self, classes: Tensor) -> Tensor:
        return self.table(classes).movedim(-1, 1)


class Blur3d(nn.Module):
    """A volume to a volume."""

    inputs = {"volume": Port(1, "map", axes=VOLUME)}
    outputs, size_multiple = {"volume": Port(2, "map", axes=VOLUME)}, 1

    def __init__(self) -> None:
        super().__init__()
        self.blur = nn.Conv3d(1, 2, 3, padding=1)

    def forward(self, volume: Tensor) -> Tensor:
        return self.blur(volume)


class Registration(nn.Module):
    """Two pictures to a field of displacements, and the first picture moved by it."""

    inputs, size_multiple = {"moving": Port(1), "fixed": Port(1)}, 1
    outputs = {"field": Port(2, "map", -8, 8), "moved": Port(1)}

    def __init__(self) -> None:
        super().__init__()
        self.field = nn.Conv2d(2, 2, 3, padding=1)

    def forward(self, moving: Tensor, fixed: Tensor) -> tuple[Tensor, Tensor]:
        field = self.field(torch.cat([moving, fixed], 1))
        return field, moving + field.mean(1, keepdim=True)


class Detector(nn.Module):
    """Boxes, as many as a picture has bright columns."""

    inputs, outputs, size_multiple = {"image": Port(3)}, {"image": Port(3), "boxes": BOX}, 1

    def __init__(self) -> None:
        super().__init__()
        self.first, self.box = nn.Conv2d(3, 3, 1), nn.Linear(3, 4)

    def forward(self, image: Tensor) -> tuple[Tensor, Ragged]:
        image = self.first(image)
        bright = [sample.mean(1).T[sample.mean((0, 1)) >= sample.mean()] for sample in image]
        return image, Ragged.of([torch.sigmoid(self.box(sample)) for sample in bright])


class Painter(nn.Module):
    """Boxes in: the picture plus the mean of its boxes."""

    inputs, outputs, size_multiple = {"image": Port(3), "boxes": BOX}, {"image": Port(3)}, 1

    def __init__(self) -> None:
        super().__init__()
        self.colour = nn.Linear(4, 3)

    def forward(self, image: Tensor, boxes: Ragged) -> Tensor:
        colours = [self.colour(F.pad(sample, (0, 0, 0, 1))).mean(0) for sample in boxes]
        return image + torch.stack(colours)[:, :, None, None]


class Mixed(nn.Module):
    """A picture of half the size."""

    inputs, outputs, size_multiple = {"image": Port(3, scale=0.5)}, {"image": Port(3, scale=0.5)}, 1

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Conv2d(3, 3, 1)

    def forward(self, image: Tensor) -> Tensor:
        return self.mix(image)


class Halves(nn.Module):
    """A picture, one of half the size, one of which no file knows the channels, and a mask."""

    inputs, size_multiple = {"image": Port(3)}, 1
    outputs = {"whole": Port(3), "half": Port(3, scale=0.5), "stages": Port(None), "mask": Port(1, "map")}

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Conv2d(3, 3, 1)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        whole = self.mix(image)
        return whole, F.avg_pool2d(whole, 2, ceil_mode=True), torch.cat([image, whole], 1), whole.mean(1, keepdim=True)


ALL = {
    kind.__name__.lower(): kind
    for kind in (Scaled, Estimator, Planes, Segmenter, Colours, Blur3d, Registration, Detector, Painter)
}


class SquaredError:
    """Of a scaled picture."""

    def __call__(self, image: Tensor, reference: Tensor) -> tuple[Tensor, int]:
        return ((image - reference) ** 2).sum(), image.numel()


class Scaling:
    """A task whose network takes numbers."""

    targets = {"reference": Port(3)}

    def __init__(self) -> None:
        self.losses = {"loss": SquaredError()}

    def network(self) -> Scaled:
        return Scaled()


@hookimpl
def register_tasks(register: Any) -> None:
    register("scaling", "kinds:Scaling", summary="A task of a test")


@hookimpl
def register_networks(register: Any) -> None:
    for name, kind in {**ALL, "ramp": Ramp, "halves": Halves, "mixed": Mixed}.items():
        register(name, f"kinds:{kind.__name__}", summary="A network of a test")
