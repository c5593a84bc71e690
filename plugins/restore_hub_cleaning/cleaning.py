"""The problem of data hyper-cleaning."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from restore_hub.errors import DataError, OptionError
from restore_hub_cleaning.formats import Labelled, load
from restore_hub_cleaning.sampling import Order, corrupt, split_classes

Variables = Mapping[str, Mapping[str, Tensor]]
Batch = Mapping[str, Tensor]
Name = Literal["digits", "mnist", "fashion-mnist", "cifar10"]
HIDDEN = 300


class HyperCleaning:
    r"""Sample weights at the upper level, a classifier at the lower one, and a part of the training labels wrong.

    .. math::
        F_{lower} = \frac{1}{|B|} \sum_{i \in B} \sigma(\theta_i) \, \ell(\omega; u_i, v_i), \qquad
        F_{upper} = \frac{1}{|B'|} \sum_{i \in B'} \ell(\omega; u_i, v_i) + \eta |\omega|^2

    with the cross-entropy l, training samples i whose labels v_i are partly wrong, clean validation samples, and one
    logit theta_i for each training sample, by its index in the training split.

    Blocks: `weights` (the logits, all 0 at first) and `classifier`. Energies: `training` (F_lower, on the split
    `train`) and `validation` (F_upper, on `validation`). Metrics: `f1`, the harmonic mean of precision and recall of
    the kept samples, sigma(theta_i) >= 1/2, against those with a correct label; `accuracy` of the classifier on the
    test split.

    The paper takes 5000, 5000 and 10000 samples of MNIST, FashionMNIST or CIFAR10, balanced over the classes. Its
    energies are sums; here they are means, so that learning rates fit every size.

    Args:
        data: the data set; `digits` comes with scikit-learn and needs no files.
        root: file or folder of the data, see `restore_hub_cleaning.formats`; none for `digits`.
        train, validation, test: samples in each split. The first two come from the training files, the third from the
            test files if there are any.
        corrupted: part of the training labels to change to another class, 0 to 1.
        classifier: `linear` (softmax regression, convex) or `two-layer` (inputs-300-classes without a nonlinearity,
            not convex).
        decay: eta, the weight of |omega|^2 in F_upper, >= 0.
        batch_size: training samples in a batch; none for all.
        validation_batch_size: the same for the validation split.
        data_seed: seed of the choice of samples and of the wrong labels.

    Raises:
        OptionError: an option is out of range.
        DataError: a file is missing or damaged, or there are too few samples.
        MissingExtraError: `digits` without scikit-learn.

    Reference:
        Learning with Constraint Learning (TPAMI 2024), V-B.3, with its regularisation at the upper level.
    """

    metrics: ClassVar[Mapping[str, bool]] = {"f1": True, "accuracy": True}

    def __init__(
        self,
        data: Name = "digits",
        root: Path | None = None,
        train: int = 600,
        validation: int = 600,
        test: int = 500,
        corrupted: float = 0.5,
        classifier: Literal["linear", "two-layer"] = "linear",
        decay: float = 1e-4,
        batch_size: int | None = None,
        validation_batch_size: int | None = None,
        data_seed: int = 0,
    ) -> None:
        _check(corrupted, decay, train, validation, test, batch_size, validation_batch_size)
        rng = np.random.default_rng(data_seed)
        found = load(data, root)
        self._train, self._validation, self._test = _splits(found, (train, validation, test), rng)
        labels, self.clean = corrupt(self._train[1], corrupted, found.classes, rng)
        self._train = (self._train[0], labels)
        inputs = self._train[0].shape[1]
        layers = [inputs, found.classes] if classifier == "linear" else [inputs, HIDDEN, found.classes]
        weights = nn.Module()
        weights.register_parameter("logits", nn.Parameter(torch.zeros(train)))
        model = nn.Sequential(*(nn.Linear(i, o) for i, o in pairwise(layers)))
        self.blocks = nn.ModuleDict({"weights": weights, "classifier": model})
        self.energies = {"training": self._training, "validation": self._validating}
        self.splits = {"train": train, "validation": validation}
        self._orders = {
            "train": Order(train, batch_size or train),
            "validation": Order(validation, validation_batch_size or validation),
        }
        self._decay = decay
        self.notes = (f"{data}: {int((~self.clean).sum())} of {train} training labels are wrong",)

    def batch(self, split: str, seed: int, index: int) -> dict[str, Tensor]:
        """Return `image` (n, pixels) float32, `label` (n,) and `index` (n,), the sample's place in its split."""
        images, labels = self._train if split == "train" else self._validation
        chosen = torch.from_numpy(self._orders[split].batch(seed, index))
        return {"image": images[chosen], "label": labels[chosen], "index": chosen}

    def measure(self) -> dict[str, float]:
        """Return `f1` and `accuracy`."""
        logits = self.blocks["weights"].logits.detach().cpu()
        images, labels = self._test
        device = next(self.blocks["classifier"].parameters()).device
        predicted = self.blocks["classifier"](images.to(device)).argmax(1).cpu()
        return {"f1": f1(logits >= 0, self.clean), "accuracy": (predicted == labels).double().mean().item()}

    def _training(self, variables: Variables, batch: Batch) -> tuple[Tensor, int]:
        weights = torch.sigmoid(variables["weights"]["logits"][batch["index"]])
        return (weights * self._losses(variables, batch)).sum(), len(batch["label"])

    def _validating(self, variables: Variables, batch: Batch) -> tuple[Tensor, int]:
        count = len(batch["label"])
        size = torch.stack([w.square().sum() for w in variables["classifier"].values()]).sum()
        return self._losses(variables, batch).sum() + count * self._decay * size, count

    def _losses(self, variables: Variables, batch: Batch) -> Tensor:
        scores, classifier = batch["image"], variables["classifier"]
        for layer in range(len(self.blocks["classifier"])):  # calling the module would double the time
            scores = F.linear(scores, classifier[f"{layer}.weight"], classifier[f"{layer}.bias"])
        return F.cross_entropy(scores, batch["label"], reduction="none")


def f1(kept: Tensor, clean: Tensor) -> float:
    """Return 2 P R / (P + R) = 2 |kept and clean| / (|kept| + |clean|) of two boolean vectors; 0 if both are empty.

    With precision P = |kept and clean| / |kept|, recall R = |kept and clean| / |clean|.
    """
    both, sizes = int((kept & clean).sum()), int(kept.sum()) + int(clean.sum())
    return 2 * both / sizes if sizes else 0.0


def _splits(found: Labelled, sizes: tuple[int, int, int], rng: np.random.Generator) -> list[tuple[Tensor, Tensor]]:
    train, validation, test = sizes
    if found.test_labels is None:
        chosen = split_classes(found.labels, (train, validation, test), rng)
        parts = [(found.images[c], found.labels[c]) for c in chosen]
    else:
        assert found.test_images is not None
        chosen = split_classes(found.labels, (train, validation), rng)
        parts = [(found.images[c], found.labels[c]) for c in chosen]
        (last,) = split_classes(found.test_labels, (test,), rng)
        parts.append((found.test_images[last], found.test_labels[last]))
    return [
        (
            torch.from_numpy(np.float32(images.reshape(len(images), -1)) / found.white),
            torch.from_numpy(np.int64(labels)),
        )
        for images, labels in parts
    ]


def _check(corrupted: float, decay: float, *sizes: int | None) -> None:
    if not 0 <= corrupted <= 1:
        raise OptionError("cleaning.bad-part", "corrupted", got=corrupted)
    if not 0 <= decay < float("inf"):
        raise OptionError("cleaning.bad-decay", "decay", got=decay)
    names = ("train", "validation", "test", "batch_size", "validation_batch_size")
    for name, size in zip(names, sizes, strict=True):
        if size is not None and size < 1:
            raise OptionError("cleaning.bad-count", name, got=size)
    for name, size, whole in ((names[3], sizes[3], sizes[0]), (names[4], sizes[4], sizes[1])):
        if size is not None and whole is not None and size > whole:
            raise DataError("cleaning.batch-above-split", name, got=size, samples=whole)
