"""`restore-hub data check` of a spec."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from restore_hub.cli.data import command as data_commands
from restore_hub.errors import DataError
from restore_hub.runtime.dng import write_dng
from restore_hub.runtime.images import write_picture
from restore_hub.runtime.raw import read_raw
from restore_hub_raw.check_data import check_data

SPEC = """
spec: 1
name: small
data:
  train: {{dataset: {dataset}, {root}, crop: 16{more}}}
  holdout: {{dataset: raw/pairs, root: {absent}}}
blocks:
  generate: {{network: raw/unet, width: 4, depth: 1, inputs: {{raw: data.raw}}, outputs: [rgb]}}
objectives:
  fidelity: {{loss: l1, inputs: {{prediction: rgb, target: data.rgb}}}}
stages:
  - {{solver: joint, steps: 1, blocks: [generate], objective: fidelity, data: train, lr: 1e-3}}
"""


def scene(height: int, width: int, seed: int, dy: float = 0.0, dx: float = 0.0) -> np.ndarray:
    """A photo (H, W, 3) in [0, 1] with the 1/f spectrum of photographs, moved by (dy, dx) round its edges."""
    rng = np.random.default_rng(seed)
    fy, fx = np.fft.fftfreq(height)[:, None, None], np.fft.rfftfreq(width)[None, :, None]
    colours = 0.8 * rng.normal(size=(height, width, 1)) + 0.3 * rng.normal(size=(height, width, 3))
    spectrum = np.fft.rfft2(colours, axes=(0, 1)) / np.maximum(np.hypot(fy, fx), 1 / max(height, width))
    moved = np.fft.irfft2(spectrum * np.exp(-2j * np.pi * (fy * dy + fx * dx)), (height, width), axes=(0, 1))
    return np.clip(0.5 + 0.15 * moved / moved.std(), 0, 1)


def check(*arguments: object) -> Result:
    result = CliRunner().invoke(check_data, [str(a) for a in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def found(result: Result) -> list[str]:
    """Return the rows of the table, blanks squeezed."""
    lines = result.stdout.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("SPLIT"))
    assert result.exit_code == 1
    return [" ".join(line.split()) for line in lines[start + 1 : -1] if not line.startswith("note")]


def change(path: Path, **fields: object) -> None:
    write_dng(path, replace(read_raw(path), **fields))


def alone(data: Path) -> Path:
    (data / "train" / "short" / "b.dng").unlink()
    return data / "train" / "long" / "b.dng"


def mistimed(data: Path) -> Path:
    path = data / "train" / "short" / "c.dng"
    change(path, exposure_time=0.2)
    return path


def test_a_folder_with_lists_is_checked_by_a_spec(data: Path) -> None:
    (data / "Sony_train_list.txt").write_text("short/a.ARW long/a.ARW ISO200 F8\n")
    with pytest.raises(DataError, match=r"lists such as Sony_train_list\.txt; check it by a spec with raw/sid"):
        check(data)


def spec(folder: Path, root: str, dataset: str = "raw/pairs", more: str = "") -> Path:
    path = folder / "spec.yaml"
    path.write_text(SPEC.format(dataset=dataset, root=root, absent=folder / "absent", more=more))
    return path


def test_a_spec_is_checked_where_its_data_is(data: Path, tmp_path: Path) -> None:
    path = spec(tmp_path, f"root: {data / 'train'}")
    result = check(path)
    assert result.exit_code == 0
    assert "absent does not exist here, so it is not checked" in result.stdout
    assert "3 pairs, no findings" in result.stdout
    (row,) = found(check(path, "--set", "data.train.ratio=40"))[:1]
    assert "exposure ratio" in row
    assert "the option `ratio` says 40" in row
    with pytest.raises(DataError, match="none of its data is here"):
        check(path, "--set", f"data.train.root={tmp_path / 'nowhere'}")


def test_a_dataset_that_cannot_be_made_is_a_finding_and_the_rest_goes_on(data: Path, tmp_path: Path) -> None:
    lonely = alone(data)
    mistimed(data)
    rows = found(check(spec(tmp_path, f"root: {data / 'train'}")))
    assert len(rows) == 2
    assert rows[0].startswith(f"train {lonely} no partner")
    assert "exposure times say 50" in rows[1]


def test_a_dataset_of_an_unknown_kind_is_read_file_by_file(tmp_path: Path) -> None:
    for name in "ab":
        write_picture(tmp_path / f"{name}.png", scene(40, 40, ord(name)))
    (tmp_path / "c.npz").write_bytes(b"no array")
    (tmp_path / "small.py").write_text(
        "import numpy as np\n"
        "from pathlib import Path\n"
        "from restore_hub.contracts import Port\n"
        "from restore_hub.hookspecs import hookimpl\n"
        "class Files:\n"
        "    ports = {'raw': Port(4, 'raw', scale=0.5), 'rgb': Port(3)}\n"
        "    def __init__(self, root: Path, crop: int | None = None) -> None:\n"
        "        self.root = root\n"
        "    def __len__(self):\n"
        "        return 3\n"
        "    def files(self, index):\n"
        "        return [self.root / ('a.png', 'b.png', 'c.npz')[index]]\n"
        "    def sample(self, index, rng):\n"
        "        return dict(np.load(self.files(index)[0]))\n"
        "@hookimpl\n"
        "def register_datasets(register):\n"
        "    register('files', 'small:Files', summary='x')\n"
    )
    arguments = (spec(tmp_path, f"root: {tmp_path}", "small/files"), "--plugin", tmp_path / "small.py")
    (row,) = found(check(*arguments))
    assert f"{tmp_path}/c.npz unreadable" in row
    (tmp_path / "c.npz").unlink()
    np.savez(tmp_path / "c.npz", raw=np.zeros(1))
    assert "3 other samples, no findings" in check(*arguments).stdout
    group = ["--plugin", str(arguments[2]), "check", str(arguments[0])]
    assert "3 other samples, no findings" in CliRunner().invoke(data_commands, group).stdout
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:500])
    (row,) = found(check(*arguments))
    assert f"{tmp_path}/a.png unreadable" in row
