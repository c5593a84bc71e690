"""The data to check: of a folder, or of a spec."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from restore_hub.contracts import Dataset
from restore_hub.errors import DataError, RestoreHubError
from restore_hub.photo.kind import Kind, kind_of
from restore_hub.photo.raw.mosaic import GAIN_RANGE
from restore_hub_raw.checks.file import check_file
from restore_hub_raw.checks.findings import Finding, Verdict
from restore_hub_raw.checks.pair import check_pair
from restore_hub_raw.datasets.exposure_pairs import ExposurePairs
from restore_hub_raw.datasets.same_names import match_names

if TYPE_CHECKING:
    from restore_hub.plan.lookup import Part
    from restore_hub.plan.plan import Plan


@dataclass(slots=True)
class Split:
    """Files to check.

    Attributes:
        name: of the split.
        samples: the files of each sample.
        findings: problems that showed when the files were listed.
        dataset: what reads the samples, where it could be made.
    """

    name: str
    samples: Sequence[Sequence[Path]]
    findings: list[Finding] = field(default_factory=list)
    dataset: Dataset | None = None

    def is_pair(self, index: int) -> bool:
        """Return whether a sample is two files, the first of them RAW."""
        return len(self.samples[index]) == 2 and kind_of(self.samples[index][0]).is_raw

    def check(self, index: int) -> Verdict:
        """Check one sample."""
        files = self.samples[index]
        if self.is_pair(index):
            return check_pair(files[0], files[1], self._ratio(index))
        verdict = Verdict()
        known = [file for file in files if kind_of(file) is not Kind.UNKNOWN]
        for file in known:
            check_file(file, verdict)
        if self.dataset is not None and len(known) < len(files):
            try:
                self.dataset.sample(index, None)
            except Exception as error:  # a plugin's decoder may raise anything
                verdict.add(files[0], "unreadable", str(error).removeprefix(f"{files[0]}: "))
        return verdict

    def _ratio(self, index: int) -> float | None:
        """Return the exposure ratio that a spec or a list states; at its limit it may have been capped."""
        ratio = self.dataset.pair(index).ratio if isinstance(self.dataset, ExposurePairs) else None
        return ratio if ratio and ratio < GAIN_RANGE[1] else None


def folder_splits(folder: Path) -> tuple[list[Split], list[str]]:
    """List the pairs of a folder, or of each of its subfolders, by `short/NAME` and `long/NAME`; and no notes.

    Raises:
        DataError: no folder `short` or `long` anywhere, or lists that say which files belong together.
    """
    folders = [folder, *sorted(path for path in folder.iterdir() if path.is_dir())]
    found = [path for path in folders if any((path / side).is_dir() for side in ("short", "long"))]
    lists = sorted(folder.glob("*_list.txt"))
    if lists:
        raise DataError("raw-check.paired-by-lists", folder, listing=lists[0].name)
    if not found:
        raise DataError("raw-check.no-pairs", folder)
    return [_folder_split(path.resolve().name, path / "short", path / "long") for path in found], []


def spec_splits(source: Path, overrides: Iterable[str], plugins: Iterable[Path]) -> tuple[list[Split], list[str]]:
    """Make the datasets of a spec whose root exists; and notes on the others.

    Raises:
        SpecError: the spec is wrong. DataError: none of its data exists here.
    """
    from restore_hub.plan import make_plan
    from restore_hub.plan.shipped import find_spec
    from restore_hub.plugins import default_registry
    from restore_hub.spec import read_spec

    plan = make_plan(read_spec(find_spec(source), overrides), default_registry(tuple(plugins)))
    splits, notes = [], []
    for name, part in plan.datasets.items():
        root = part.options.get("root")
        if isinstance(root, Path) and not root.exists():
            notes.append(f"data.{name} is not checked: {root} does not exist here")
        else:
            splits.append(_spec_split(plan, name, part))
    if not splits:
        raise DataError("raw-check.no-data", source)
    return splits, notes


def _spec_split(plan: Plan, name: str, part: Part) -> Split:
    """Make a split's dataset; where that fails, list its files here, so that the rest is checked too."""
    from restore_hub.plan.splits import make_dataset

    try:
        dataset = make_dataset(plan, name)
        return Split(name, [list(map(Path, dataset.files(i))) for i in range(len(dataset))], dataset=dataset)
    except RestoreHubError as error:
        root = Path(str(part.options.get("root", "")))
        sides = [root / str(part.options.get(side, side)) for side in ("short", "long")]
        paired = all(side.is_dir() for side in sides) and "listing" not in part.options
        split = _folder_split(name, *sides) if paired else Split(name, [])
        if not split.findings:
            split.findings.append(Finding(root, "unusable", str(error)))
        return split


def _folder_split(name: str, short: Path, long: Path) -> Split:
    matched = match_names(short, long)
    return Split(name, matched.pairs, [Finding.of_error(problem) for problem in matched.problems])
