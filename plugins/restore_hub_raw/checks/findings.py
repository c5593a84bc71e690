"""What a check of data finds."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from restore_hub.errors import DataError


@dataclass(frozen=True, slots=True)
class Finding:
    """One problem: the file, two or three words for the kind of problem, and details."""

    file: Path
    problem: str
    detail: str

    @classmethod
    def of_error(cls, error: DataError) -> Finding:
        """Return an error of one file as a finding; its code names the problem."""
        problem = error.code.partition(".")[2].replace("-", " ")
        return cls(Path(error.place), problem, f"{error.what}; {error.mend}" if error.mend else error.what)


@dataclass(slots=True)
class Verdict:
    """What the check of a sample found, and what it couldn't determine (`undetermined`, a few words each)."""

    findings: list[Finding] = field(default_factory=list)
    undetermined: list[str] = field(default_factory=list)

    def add(self, file: Path, problem: str, detail: str) -> None:
        """Add a finding."""
        self.findings.append(Finding(file, problem, detail))
