"""Where in a run an error happened, and what helps when memory runs out."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from restore_hub.errors import RestoreHubError, TrainingError, UnreadableFileError, lacks_memory, reason_of

LESS_MEMORY = "lower `crop` of its splits, or their `batch_size` while you raise `accumulate`, or `width` of its blocks"
SMALLER_PICTURES = "use smaller holdout pictures: a whole picture takes more memory than a step"

LOOK_AT_ALL = "`restore-hub data check` looks at all files"


@contextlib.contextmanager
def placed(place: str, less_memory: str = LESS_MEMORY) -> Iterator[None]:
    """Name the stage and step in any error, those of plugins and of torch included.

    Args:
        place: the stage and the step.
        less_memory: how to use less memory there.

    Raises:
        TrainingError: with the code of the error that it was, or `train.failed`, `train.out-of-memory` or
            `train.reentrant-checkpoint`.
    """
    try:
        yield
    except UnreadableFileError as error:
        mend = "; ".join(part for part in (error.mend, LOOK_AT_ALL) if part)
        raise error.at(place, TrainingError, mend) from error
    except RestoreHubError as error:
        raise error.at(place, TrainingError) from error
    except Exception as error:
        if lacks_memory(error):
            raise TrainingError("train.out-of-memory", place, mend=less_memory, cause=reason_of(error)) from error
        if isinstance(error, RuntimeError) and "use_reentrant" in str(error):
            raise TrainingError("train.reentrant-checkpoint", place) from error
        raise TrainingError("train.failed", place, cause=reason_of(error)) from error
