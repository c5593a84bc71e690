"""Every block of code of the README and of the documentation runs; a failure names the page and the line."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from restore_hub.photo.picture_writer import write_picture
from restore_hub.photo.raw.reader import read_raw
from restore_hub_raw.synthesis.make_folder import make_folder
from restore_hub_raw.synthesis.recipe import Recipe
from support.pages import PAGES, RUN, SHOWN, WRITTEN, Block, Walk, blocks_of

PHOTOS = {"train": ["lake", "tower"], "upper": ["street"], "holdout": ["cat"]}
# Pages of several commands that train or restore.
LONG = {
    "docs/tutorial.md",
    *(
        f"docs/how-to/{name}.md"
        for name in ("deploy", "evaluate", "raw", "training", "write-solver", "write-task", "solve-for-pictures")
    ),
}
# What a page has more of than a test has time for.
NARROW = "--set blocks.generate.width=4 --set blocks.generate.depth=1"
SMALLER = {
    "README.md": {"steps=20": f"steps=4 {NARROW}", "steps=5": "steps=2"},
    "docs/how-to/evaluate.md": {"steps=20": f"steps=4 --set export.blocks=[] {NARROW}", "steps=5": "steps=2"},
    "docs/tutorial.md": {
        "steps: 300": "steps: 10",
        "steps: 20": "steps: 2",
        "width: 16": "width: 4",
        "crop: 128": "crop: 32",
    },
    "docs/plugin-tutorial.md": {"steps: 100": "steps: 10"},
}
# What is in a page's folder before its first block runs; without an entry, everything.
EVERYTHING = ("photos", "data", "trip", "photo.dng", "sensor.raw", "chain.onnx", "enhance.onnx")
THERE = {
    "README.md": ("photos", "trip", "photo.dng"),
    "docs/tutorial.md": (),
    "docs/plugin-tutorial.md": ("photos",),
    "docs/how-to/evaluate.md": ("data", "chain.onnx", "enhance.onnx", "clean", "dark", "others"),
    "docs/how-to/write-solver.md": (),
    "docs/how-to/solve-for-pictures.md": (),
    "docs/how-to/write-task.md": ("photos",),
    "docs/reference/api.md": (),
}


def _blocks() -> list[object]:
    found = [block for page in PAGES for block in blocks_of(page) if block.runs]
    marks = {block: [pytest.mark.xdist_group(block.page), pytest.mark.timeout(600)] for block in found}
    for block in found:
        marks[block] += [pytest.mark.long] if block.page in LONG else []
    return [pytest.param(block, id=str(block), marks=marks[block]) for block in found]


@pytest.mark.parametrize("block", _blocks())
def test_a_block_runs(block: Block, walk: Callable[[str], Walk]) -> None:
    reader = walk(block.page)
    printed = reader.upto(block)
    for page, line, pattern in PRINTED:
        if block.page == page and line in block.text:
            assert re.search(pattern, printed), printed
    for page, line, pattern, count in LEFT:
        if block.page == page and line in block.text:
            assert len(list(reader.folder.glob(pattern))) == count, pattern


# What a block prints, as the text around it says: the page, a line of the block, a pattern.
PRINTED = [
    ("docs/how-to/evaluate.md", "values.csv", r"others +psnr .* better"),
    ("docs/how-to/write-solver.md", "--hypergradient", "greedy/t1-t2 steps theta in the right direction"),
    ("docs/how-to/write-solver.md", "compare runs", r"weight_error, end of stage 1 +0\.63\d+ +0\.70\d+"),
    ("docs/how-to/raw.md", "inspect sensor.raw", "Acme X1"),
]
# Which files are there after a block: the page, a line of the block, a pattern of names, how many.
LEFT = [
    ("README.md", "restore zoo:raw-lowlight trip", "restored/cat.png", 1),
    ("README.md", "run raw_lowlight", "runs/first/export/*.onnx", 3),
    ("docs/how-to/deploy.md", "tiffs", "tiffs/*.tif", 1),
    ("docs/how-to/deploy.md", "twice.png", "twice.png", 1),
    ("docs/how-to/evaluate.md", "restored", "restored/*.png", 3),
    ("docs/how-to/raw.md", "quiet.dng", "quiet.dng", 1),
    ("docs/how-to/training.md", "--resume", "runs/*/report.html", 3),
]


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with photographs, in `photos` ordinary ones, elsewhere dark RAW files of them."""
    root = tmp_path_factory.mktemp("world")
    for seed, (split, name) in enumerate((s, n) for s, names in PHOTOS.items() for n in names):
        coarse = np.random.default_rng(seed).uniform(0.1, 0.9, (5, 6, 3))
        (root / "photos" / split).mkdir(parents=True, exist_ok=True)
        write_picture(root / "photos" / split / f"{name}.png", np.kron(coarse, np.ones((28, 28, 1))).astype(np.float32))
    for index in range(3):
        clean = np.kron(np.random.default_rng(index).uniform(0.1, 0.9, (5, 6, 3)), np.ones((8, 8, 1)))
        for name, factor in {"clean": 1, "dark": 0.2, "others": 0.9}.items():
            (root / name).mkdir(exist_ok=True)
            write_picture(root / name / f"{index}.png", factor * clean)
    for split in PHOTOS:
        make_folder(root / "photos" / split, root / "data" / split, Recipe())
    shutil.copytree(root / "data" / "holdout" / "short", root / "trip")
    shutil.copyfile(root / "trip" / "cat.dng", root / "photo.dng")
    read_raw(root / "photo.dng").mosaic.tofile(root / "sensor.raw")
    return root


@pytest.fixture(scope="session")
def walk(
    photos: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Callable[[str], Walk]:
    """Return a function that gives the reader of a page, in a folder with what the page says is there."""
    walks: dict[str, Walk] = {}

    def get(page: str) -> Walk:
        if page not in walks:
            folder = tmp_path_factory.mktemp(Path(page).stem)
            for name in THERE.get(page, EVERYTHING):
                source = request.getfixturevalue("models") if name.endswith(".onnx") else photos
                (shutil.copytree if (source / name).is_dir() else shutil.copyfile)(source / name, folder / name)
            walks[page] = Walk(page, folder, SMALLER.get(page, {}))
        return walks[page]

    return get


@pytest.mark.parametrize("page", PAGES)
def test_every_block_of_a_page_is_run_written_or_only_shown(page: str) -> None:
    """YAML without a file name is read by the tests of the spec language and of the pipelines."""
    for block in blocks_of(page):
        known = block.language in (*RUN, *WRITTEN, *SHOWN) or block.language.startswith("{")
        assert known, f"{block}: {block.language!r} is none of {(*RUN, *WRITTEN, *SHOWN)}"
