"""What `data check` does: checks every sample, looks for duplicates, and reports."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from restore_hub.cli.table import table
from restore_hub.errors import counted
from restore_hub_raw.checks.duplicates import find_duplicates
from restore_hub_raw.checks.findings import Finding
from restore_hub_raw.checks.splits import Split


@dataclass(frozen=True, slots=True)
class DataReport:
    """The result of a check.

    Attributes:
        pairs, others: how many samples are pairs of exposures, and how many are something else.
        findings: names of splits and what was found there.
        notes: what wasn't or couldn't be checked.
    """

    pairs: int
    others: int
    findings: Sequence[tuple[str, Finding]]
    notes: Sequence[str]

    def lines(self) -> Iterator[str]:
        """Yield the lines to print."""
        if self.findings:
            rows = [(name, str(f.file), f.problem, " ".join(f.detail.split())) for name, f in self.findings]
            yield table(("SPLIT", "FILE", "PROBLEM", "DETAIL"), rows)
        for note in self.notes:
            yield f"note: {note}"
        checked = [counted(self.pairs, "pair")] if self.pairs or not self.others else []
        checked += [counted(self.others, "other sample")] if self.others else []
        yield f"{' and '.join(checked)}, {self._count()}"

    def _count(self) -> str:
        if not self.findings:
            return "no findings"
        kinds = Counter(finding.problem for _, finding in self.findings)
        return (
            f"{counted(len(self.findings), 'finding')}: {', '.join(f'{n} {kind}' for kind, n in kinds.most_common())}"
        )


def samples_of(splits: Iterable[Split]) -> list[tuple[Split, int]]:
    """Return each sample by its split and index."""
    return [(split, index) for split in splits for index in range(len(split.samples))]


def check_samples(samples: Iterable[tuple[Split, int]], splits: Sequence[Split], notes: Sequence[str]) -> DataReport:
    """Check samples, those of `splits`, and look for duplicates."""
    undetermined: Counter[str] = Counter()
    pairs = others = 0
    for split, index in samples:
        verdict = split.check(index)
        split.findings += verdict.findings
        undetermined.update(verdict.undetermined)
        pairs, others = (pairs + 1, others) if split.is_pair(index) else (pairs, others + 1)
    found = [(split.name, finding) for split in splits for finding in dict.fromkeys(split.findings)]
    unknown = [f"cannot determine the {what} of {count} of {pairs} pairs" for what, count in undetermined.items()]
    return DataReport(pairs, others, [*found, *find_duplicates(splits)], [*notes, *unknown])
