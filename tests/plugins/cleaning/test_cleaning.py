"""Hyper-cleaning: its energies, its split of the samples, and F1."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from restore_hub import run
from restore_hub.errors import DataError, OptionError, RestoreHubError
from restore_hub.testing import check_problem
from restore_hub.train.setup import set_up
from restore_hub.train.stepper import Stepper
from restore_hub_cleaning.cleaning import HyperCleaning, f1
from restore_hub_cleaning.sampling import Order, corrupt, split_classes
from support import refused
from support.real import DATA, real

pytest.importorskip("sklearn", reason="scikit-learn, of the extra demo, is not installed")


def small(**options: object) -> HyperCleaning:
    torch.manual_seed(0)
    return HyperCleaning(**{"train": 40, "validation": 30, "test": 50, **options})


def test_f1_is_that_of_kept_and_clean() -> None:
    kept, clean = torch.tensor([1, 1, 1, 0, 0, 0]).bool(), torch.tensor([1, 1, 0, 1, 0, 0]).bool()
    precision, recall = 2 / 3, 2 / 3
    assert f1(kept, clean) == pytest.approx(2 * precision * recall / (precision + recall))
    assert f1(torch.ones(4).bool(), torch.tensor([1, 1, 0, 0]).bool()) == pytest.approx(2 / 3)  # all kept, half right
    assert f1(torch.zeros(3).bool(), torch.zeros(3).bool()) == 0
    assert f1(clean, clean) == 1


@pytest.mark.parametrize("classifier", ["linear", "two-layer"])
def test_energies_are_those_of_the_paper(classifier: str) -> None:
    problem = small(classifier=classifier, decay=0.3)
    check_problem(problem)
    with torch.no_grad():
        problem.blocks["weights"].logits.copy_(torch.linspace(-2, 2, 40))
    model, logits = problem.blocks["classifier"], problem.blocks["weights"].logits
    assert [tuple(p.shape) for p in model.parameters()][::2] == (
        [(10, 64)] if classifier == "linear" else [(300, 64), (10, 300)]
    )
    variables = {name: dict(block.named_parameters()) for name, block in problem.blocks.items()}
    for split, name in (("train", "training"), ("validation", "validation")):
        batch = problem.batch(split, 0, 0)
        each = -torch.log_softmax(model(batch["image"]), 1)[torch.arange(len(batch["label"])), batch["label"]]
        expected = (
            (each / (1 + torch.exp(-logits))).mean()
            if name == "training"
            else each.mean() + 0.3 * sum(p.square().sum() for p in model.parameters())
        )
        total, count = problem.energies[name](variables, batch)
        assert count == len(batch["label"])
        assert (total / count).item() == pytest.approx(expected.item(), rel=1e-5)


def test_logits_go_by_the_index_of_the_sample() -> None:
    problem = small(batch_size=7)
    batch = problem.batch("train", 3, 4)
    whole = small().batch("train", 0, 0)
    assert batch["index"].tolist() != list(range(7))
    torch.testing.assert_close(batch["image"], whole["image"][batch["index"]])
    torch.testing.assert_close(batch["label"], whole["label"][batch["index"]])
    variables = {name: dict(block.named_parameters()) for name, block in problem.blocks.items()}
    total, _ = problem.energies["training"](variables, batch)
    (gradient,) = torch.autograd.grad(total, problem.blocks["weights"].logits)
    assert set(gradient.nonzero().flatten().tolist()) == set(batch["index"].tolist())


def test_half_of_the_training_labels_are_wrong_and_no_others() -> None:
    problem, right = small(), small(corrupted=0.0)
    labels, truth = (p.batch("train", 0, 0)["label"] for p in (problem, right))
    assert torch.equal(labels == truth, problem.clean)
    assert (int(problem.clean.sum()), bool(right.clean.all())) == (20, True)
    assert torch.equal(problem.batch("validation", 0, 0)["label"], right.batch("validation", 0, 0)["label"])
    assert problem.notes == ("digits: 20 of 40 training labels are wrong",)
    rng = np.random.default_rng(0)
    changed, clean = corrupt(torch.arange(1000) % 10, 1.0, 10, rng)
    assert not bool(clean.any())
    assert sorted(set(((changed - torch.arange(1000)) % 10).tolist())) == list(range(1, 10))


def test_splits_are_disjoint_balanced_and_of_their_seed() -> None:
    labels = np.uint8(np.repeat(np.arange(10), 50))
    parts = split_classes(labels, (200, 100, 50), np.random.default_rng(0))
    assert len(set(np.concatenate(parts))) == 350
    assert [np.bincount(labels[part]).tolist() for part in parts] == [[20] * 10, [10] * 10, [5] * 10]
    again, other = (split_classes(labels, (200, 100, 50), np.random.default_rng(seed)) for seed in (0, 1))
    assert all(np.array_equal(a, b) for a, b in zip(parts, again, strict=True))
    assert not np.array_equal(parts[0], other[0])
    with refused("cleaning.too-few-samples", found=500):
        split_classes(labels, (300, 201), np.random.default_rng(0))


def test_batches_of_an_epoch_hold_every_sample_once_and_repeat() -> None:
    order = Order(10, 4)
    seen = np.concatenate([order.batch(3, index) for index in range(5)])  # two epochs
    assert sorted(seen[:10]) == sorted(seen[10:]) == list(range(10))
    assert not np.array_equal(seen[:10], seen[10:])
    np.testing.assert_array_equal(order.batch(3, 2), seen[8:12])
    assert not np.array_equal(order.batch(4, 0), order.batch(3, 0))


@pytest.mark.parametrize(
    ("options", "error", "code", "place"),
    [
        ({"corrupted": 1.5}, OptionError, "bad-part", "corrupted"),
        ({"decay": -1.0}, OptionError, "bad-decay", "decay"),
        ({"train": 0}, OptionError, "bad-count", "train"),
        ({"batch_size": 41}, DataError, "batch-above-split", "batch_size"),
        ({"train": 1750}, DataError, "too-few-samples", ""),
        ({"data": "mnist"}, OptionError, "needs-root", "root"),
    ],
)
def test_options_out_of_range_are_refused(
    options: dict[str, object], error: type[RestoreHubError], code: str, place: str
) -> None:
    with refused(f"cleaning.{code}", place, error):
        small(**options)


SMALL = ["tracker=", "problem.train=100", "problem.validation=200", "problem.test=200", "problem.batch_size="]
SMALL += ["stages.0.groups=sample", "stages.0.lower.steps=5"]


def f1_after(steps: int, *overrides: str) -> float:
    setup = set_up("hyper_cleaning", overrides, [], "cpu")
    stepper = Stepper(setup, 0)
    for taken in range(steps):
        stepper.step(taken, taken / steps)
    return setup.trainable.evaluate().means["f1"]


def test_groups_of_samples_find_the_wrong_labels_where_one_ratio_finds_none() -> None:
    reached = f1_after(40, *SMALL)
    assert reached > 0.85
    assert f1_after(40, *SMALL, "stages.0.groups=100") == reached  # of 100 samples
    one_ratio = [*SMALL, "stages.0.groups="]
    assert f1_after(40, *one_ratio) == pytest.approx(2 / 3, abs=0.02)  # all kept
    second = f1_after(40, *one_ratio, "stages.0.solver=truncated-rhg", "stages.0.last=1")
    assert second > 0.85, "as the pipeline's comment says"


def test_a_run_goes_on_to_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    overrides = [*SMALL, "stages.0.steps=8", "stages.0.groups=5", "problem.batch_size=20"]
    overrides += ["validate_every=3", "checkpoint_seconds=0"]
    whole = run("hyper_cleaning", overrides=overrides, out=tmp_path / "whole", quiet=True)
    taken, step = [], Stepper.step

    def stop(self: Stepper, count: int, done: float) -> dict[str, float]:
        taken.append(count)
        if len(taken) == 6:
            raise KeyboardInterrupt
        return step(self, count, done)

    monkeypatch.setattr(Stepper, "step", stop)
    with pytest.raises(KeyboardInterrupt):
        run("hyper_cleaning", overrides=overrides, out=tmp_path / "cut", quiet=True)
    resumed = run("hyper_cleaning", overrides=overrides, out=tmp_path / "cut", resume=True, quiet=True)
    assert taken == [0, 1, 2, 3, 4, 5, 5, 6, 7]
    assert resumed.metrics == whole.metrics
    for name in ("last", "best", "stage-1"):
        left, right = (torch.load(tmp_path / folder / "checkpoints" / f"{name}.pt") for folder in ("whole", "cut"))
        assert left["about"] == right["about"]
        for block, state in left["blocks"].items():
            assert all(torch.equal(tensor, right["blocks"][block][key]) for key, tensor in state.items())
    lines = [(tmp_path / folder / "metrics.jsonl").read_text() for folder in ("whole", "cut")]
    assert lines[0] == lines[1]
    assert "hyper-cleaning" in (tmp_path / "cut" / "report.html").read_text()


@real
def test_it_cleans_mnist() -> None:
    root = f"problem.root={DATA}/classification/mnist_train20k_npz/mnist_train20k.npz"
    sizes = ["problem.train=300", "problem.validation=500", "problem.test=500", "problem.batch_size=100"]
    assert f1_after(90, "tracker=", "problem.data=mnist", root, *sizes, "stages.0.lower.lr=0.1") > 0.8
