"""Every error that a user can see. Each message says what is wrong, where, and how to mend it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class RestoreHubError(Exception):
    """Base of all errors raised on purpose; the command line prints it as one line and exits with 2."""


class PluginError(RestoreHubError):
    """A plugin that fails to import, registers badly, or is missing."""


class UnknownComponentError(RestoreHubError):
    """A component name that no loaded plugin registered."""


class OptionError(RestoreHubError):
    """An option that a component does not take, or a value of the wrong type; `option` names it."""

    def __init__(self, message: str, option: str = "") -> None:
        super().__init__(message)
        self.option = option


class SpecError(RestoreHubError):
    """A pipeline spec that cannot be read or makes no sense; the text begins with `file:line:col key.path:`."""


class DataError(RestoreHubError):
    """A file or folder of pictures that cannot be used."""


class UnreadableFileError(DataError):
    """A file that is empty, cut off, damaged, or of a format nobody here knows; training may leave it out."""


class BilevelError(RestoreHubError):
    """A bilevel problem without the property its solver needs (a response, a scalar energy, a gradient)."""


class TrainingError(RestoreHubError):
    """A training run that cannot go on, such as a loss that is not finite."""


class LostRankError(TrainingError):
    """Another process of a run on several has ended, or is not heard of any more."""


class ExportError(RestoreHubError):
    """A block that cannot be exported, or whose exported file differs from PyTorch."""


class ModelFileError(RestoreHubError):
    """An ONNX file that is not one of restore_hub's, or is asked for what it cannot do."""


class MissingExtraError(RestoreHubError):
    """A package of an optional extra is needed and not installed."""


def lacks_memory(error: BaseException) -> bool:
    """Whether an error says that memory does not suffice: Python's own, NumPy's, or torch's on any device."""
    named = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    return named or "can't allocate memory" in str(error)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ` (did you mean 'x'?)` for the nearest known name, or an empty text when none is near."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" (did you mean {near[0]!r}?)" if near else ""
