"""What is measured on: folders of pictures or RAW files, or a registered data set."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from restore_hub.contracts import Dataset
from restore_hub.errors import DataError
from restore_hub.evaluate.pictures import PictureFolders
from restore_hub.nested import nested_model
from restore_hub.photo.kind import kind_of
from restore_hub.plan.lookup import Lookup
from restore_hub.plan.samples import Samples
from restore_hub.plan.splits import dataset_of
from restore_hub.registry import Registry
from restore_hub.spec import DATA, Argument, read_argument

OPTION = "--data"
IMAGE, REFERENCE = "image", "reference"
RAW_PAIRS = "raw/pairs"


@dataclass(frozen=True, slots=True)
class Data:
    """Samples, and the tensor that predictions are compared with; empty where there is none.

    Attributes:
        about: a few words for people.
    """

    samples: Samples
    target: str
    about: str


def open_data(given: str | None, reference: Path | None, registry: Registry) -> Data:
    """Open what the command line names.

    Args:
        given: a folder of pictures or RAW files, one with the folders `short` and `long` of RAW pairs, or a data set as
            a spec writes it, `{dataset: NAME, ...}`.
        reference: folder of the references, where `given` is one of pictures or RAW files.
        registry: what is registered.

    Raises:
        DataError: no such folder, pictures without partners, or RAW files without references.
        SpecError: no such data set, or one that refuses its options.
    """
    if given is not None and given.lstrip().startswith("{"):
        if reference is not None:
            raise DataError("evaluate.two-references", OPTION)
        return _registered(read_argument(OPTION, given), given, registry)
    if given is None and reference is None:
        raise DataError("evaluate.no-data", OPTION)
    about = " and ".join(str(place) for place in (given, reference) if place is not None)
    folder = Path(given) if given is not None else None
    if folder is not None and not folder.is_dir():
        raise DataError("evaluate.no-such-data", folder)
    pair = _raw_pair(folder, reference)
    if pair is not None:
        options = dict(zip(("root", "short", "long"), map(str, (Path.cwd(), *pair)), strict=True))
        return _registered(Argument(Path(OPTION), {"dataset": RAW_PAIRS, **options}), about, registry)
    folders = {IMAGE: folder, REFERENCE: reference}
    dataset = PictureFolders({name: place for name, place in folders.items() if place is not None})
    return data_of(dataset, about, DATA + REFERENCE if reference is not None else "")


def data_of(dataset: Dataset, about: str, target: str | None = None) -> Data:
    """Return the samples of a data set; unless stated, the last of several tensors is the reference."""
    *others, last = dataset.ports
    return Data(Samples(dataset, about), (DATA + last if others else "") if target is None else target, about)


def _raw_pair(folder: Path | None, reference: Path | None) -> tuple[Path, Path] | None:
    """Return the folders of short and long exposures; `None` where there's no RAW file."""
    if folder is None:
        return None
    if reference is None and (folder / "short").is_dir() and (folder / "long").is_dir():
        return (folder / "short").absolute(), (folder / "long").absolute()
    raw = next((file for file in sorted(folder.iterdir()) if kind_of(file).is_raw), None)
    if raw is None:
        return None
    if reference is None:
        raise DataError("evaluate.raw-alone", folder, file=raw.name)
    return folder.absolute(), reference.absolute()


def _registered(argument: Argument, about: str, registry: Registry) -> Data:
    try:
        use = nested_model("dataset").model_validate(argument.data)
    except ValidationError:
        raise DataError("evaluate.no-dataset-named", OPTION) from None
    return data_of(dataset_of(Lookup(argument, registry).part("dataset", use.component, use, {})), about)
