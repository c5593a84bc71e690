"""`check`: what is wrong with training data, before a run finds out or, worse, does not."""

from __future__ import annotations

import hashlib
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import click

from restore_hub.cli.options import plugin_option, set_option
from restore_hub.cli.table import table
from restore_hub.contracts import Dataset
from restore_hub.errors import DataError, RestoreHubError
from restore_hub.photo.kind import Kind, kind_of
from restore_hub.photo.raw.mosaic import GAIN_RANGE
from restore_hub_raw.checks.pairs import Finding, Verdict, check_file, check_pair
from restore_hub_raw.datasets.exposures import Exposures
from restore_hub_raw.datasets.pairs import pair_up

if TYPE_CHECKING:
    from restore_hub.plan.lookup import Part
    from restore_hub.plan.plan import Plan


@dataclass(slots=True)
class Split:
    """Files to check.

    Attributes:
        name: of the split.
        samples: the files of each sample.
        findings: what was wrong already when the files were listed.
        dataset: what reads the samples, where it could be made.
    """

    name: str
    samples: Sequence[Sequence[Path]]
    findings: list[Finding] = field(default_factory=list)
    dataset: Dataset | None = None

    def is_pair(self, index: int) -> bool:
        """Say whether a sample is two files, the first of them RAW."""
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
        """Return the exposure ratio that a spec or a list states; at its limit it may have been cut."""
        ratio = self.dataset.pair(index).ratio if isinstance(self.dataset, Exposures) else None
        return ratio if ratio and ratio < GAIN_RANGE[1] else None


@click.command("check")
@click.argument("source", metavar="SPEC_OR_FOLDER", type=click.Path(path_type=Path))
@set_option
@plugin_option
@click.pass_context
def check_data(ctx: click.Context, source: Path, overrides: tuple[str, ...], plugins: tuple[Path, ...]) -> None:
    """Check the data of a spec, or of a folder that holds short/ and long/ or a folder of these for each split.

    Found are files without partner or that cannot be read, misaligned pairs, exposure ratios that do not fit the
    pixels, long exposures mostly clipped, and files that occur twice. With any finding the exit status is 1.
    """
    given: tuple[Path, ...] = ctx.parent.params.get("plugins", ()) if ctx.parent else ()  # `data --plugin FILE check`
    plugins = tuple(dict.fromkeys((*given, *plugins)))
    splits, notes = folder_splits(source) if source.is_dir() else spec_splits(source, overrides, plugins)
    places = [(split, index) for split in splits for index in range(len(split.samples))]
    unknown: Counter[str] = Counter()
    with click.progressbar(places, label="checking", file=sys.stderr) as bar:
        for split, index in bar:
            verdict = split.check(index)
            split.findings += verdict.findings
            unknown.update(verdict.unknown)
    found = [(split.name, finding) for split in splits for finding in dict.fromkeys(split.findings)]
    found += duplicates(splits)
    pairs = sum(split.is_pair(index) for split, index in places)
    counted = [f"{pairs} pairs"] if pairs or not places else []
    counted += [f"{len(places) - pairs} other samples"] if pairs < len(places) else []
    notes += [f"the {what} of {count} of {pairs} pairs cannot be told" for what, count in unknown.items()]
    _report(" and ".join(counted), found, notes)
    ctx.exit(1 if found else 0)


def folder_splits(folder: Path) -> tuple[list[Split], list[str]]:
    """List the pairs of a folder, or of each of its subfolders, by `short/NAME` and `long/NAME`; and no notes.

    Raises:
        DataError: nowhere a folder `short` or `long`, or lists that say which files belong together.
    """
    held = [folder, *sorted(path for path in folder.iterdir() if path.is_dir())]
    sets = [path for path in held if any((path / side).is_dir() for side in ("short", "long"))]
    lists = sorted(folder.glob("*_list.txt"))
    if lists:
        raise DataError(f"{folder}: pairs its files by lists such as {lists[0].name}; check it by a spec with raw/sid")
    if not sets:
        raise DataError(f"{folder}: holds neither short/ and long/ nor folders with them; give another, or a spec")
    return [_listed(path.resolve().name, path / "short", path / "long") for path in sets], []


def spec_splits(source: Path, overrides: Iterable[str], plugins: Iterable[Path]) -> tuple[list[Split], list[str]]:
    """Make the datasets of a spec whose root exists; and notes on the others.

    Raises:
        SpecError: the spec makes no sense. DataError: none of its data is there.
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
            notes.append(f"data.{name}: {root} does not exist here, so it is not checked")
        else:
            splits.append(_made(plan, name, part))
    if not splits:
        raise DataError(f"{source}: none of its data is here; paths are relative to the folder you are in")
    return splits, notes


def duplicates(splits: Iterable[Split]) -> Iterator[tuple[str, Finding]]:
    """Yield each file whose content occurred before, in its split or in another, whatever its name."""
    first: dict[bytes, tuple[str, Path]] = {}
    for split in splits:
        for file in dict.fromkeys(file for files in split.samples for file in files):
            try:
                digest = _digest(file)
            except OSError:
                continue  # what cannot be read is found elsewhere
            name, other = first.setdefault(digest, (split.name, file))
            if name != split.name:
                yield split.name, Finding(file, "in two splits", f"the same content is in {name}: {other}")
            elif other != file:
                yield split.name, Finding(file, "duplicate", f"the same content as {other}")


def _made(plan: Plan, name: str, part: Part) -> Split:
    """Make a split's dataset; where that fails, list its files here, so that the rest is checked too."""
    from restore_hub.plan.splits import make_dataset

    try:
        dataset = make_dataset(plan, name)
        return Split(name, [list(map(Path, dataset.files(i))) for i in range(len(dataset))], dataset=dataset)
    except RestoreHubError as error:
        root = Path(str(part.options.get("root", "")))
        sides = [root / str(part.options.get(side, side)) for side in ("short", "long")]
        paired = all(side.is_dir() for side in sides) and "listing" not in part.options
        split = _listed(name, *sides) if paired else Split(name, [])
        if not split.findings:
            split.findings.append(Finding(root, "unusable", str(error)))
        return split


def _listed(name: str, short: Path, long: Path) -> Split:
    """Pair the files of two folders by stem."""
    paired = pair_up(short, long)
    return Split(name, paired.pairs, [Finding(*problem) for problem in paired.problems])


def _digest(file: Path) -> bytes:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, hashlib.blake2b).digest()


def _report(counted: str, found: Sequence[tuple[str, Finding]], notes: Iterable[str]) -> None:
    if found:
        rows = [(name, str(f.file), f.problem, " ".join(f.detail.split())) for name, f in found]
        click.echo(table(("SPLIT", "FILE", "PROBLEM", "DETAIL"), rows))
    for note in notes:
        click.echo(f"note: {note}")
    if not found:
        click.echo(f"{counted}, no findings")
        return
    kinds = Counter(finding.problem for _, finding in found)
    number = "1 finding" if len(found) == 1 else f"{len(found)} findings"
    click.echo(f"{counted}, {number}: {', '.join(f'{n} {kind}' for kind, n in kinds.most_common())}")
