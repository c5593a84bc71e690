"""`restore-hub data check` of a spec."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from click.testing import CliRunner

from restore_hub.cli.data import command as data_commands
from restore_hub.photo.picture_writer import write_picture
from support import refused
from support.raw_pairs import alone, check_data, found, mistimed, scene

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


def test_a_folder_with_lists_is_checked_by_a_spec(data: Path) -> None:
    (data / "Sony_train_list.txt").write_text("short/a.ARW long/a.ARW ISO200 F8\n")
    with refused("raw-check.paired-by-lists", data, listing="Sony_train_list.txt"):
        check_data(data)


def spec(folder: Path, root: str, dataset: str = "raw/pairs", more: str = "") -> Path:
    path = folder / "spec.yaml"
    path.write_text(SPEC.format(dataset=dataset, root=root, absent=folder / "absent", more=more))
    return path


def test_a_spec_is_checked_where_its_data_is(data: Path, tmp_path: Path) -> None:
    path = spec(tmp_path, f"root: {data / 'train'}")
    result = check_data(path)
    assert result.exit_code == 0
    assert "data.holdout is not checked: " in result.stdout
    assert "3 pairs, no findings" in result.stdout
    (row,) = found(check_data(path, "--set", "data.train.ratio=40"))[:1]
    assert "exposure ratio" in row
    assert "the option `ratio` says 40" in row
    with refused("raw-check.no-data", path):
        check_data(path, "--set", f"data.train.root={tmp_path / 'nowhere'}")


def test_a_dataset_that_cannot_be_made_is_a_finding_and_the_rest_is_checked(data: Path, tmp_path: Path) -> None:
    mistimed(data)
    lonely = alone(data)
    rows = found(check_data(spec(tmp_path, f"root: {data / 'train'}")))
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
    (row,) = found(check_data(*arguments))
    assert f"{tmp_path}/c.npz unreadable" in row
    (tmp_path / "c.npz").unlink()
    np.savez(tmp_path / "c.npz", raw=np.zeros(1))
    assert "3 other samples, no findings" in check_data(*arguments).stdout
    group = ["--plugin", str(arguments[2]), "check", str(arguments[0])]
    assert "3 other samples, no findings" in CliRunner().invoke(data_commands, group).stdout
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:500])
    (row,) = found(check_data(*arguments))
    assert f"{tmp_path}/a.png unreadable" in row
