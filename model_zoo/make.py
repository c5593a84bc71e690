"""Makes an entry of the model zoo; needs only this repository and the extras `train` and `demo`.

    python model_zoo/make.py raw-lowlight

Turns photographs of scikit-image and scikit-learn into data, trains `model_zoo/raw-lowlight.yaml` on them in
`runs/zoo/raw-lowlight/run`, and makes `model_zoo/raw-lowlight/` from that run and, in int8,
`model_zoo/raw-lowlight-int8/`. If it's interrupted, the same command continues it.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

import skimage
import sklearn
from PIL import Image

from restore_hub import run
from restore_hub.export.quantise import open_judge, quantise
from restore_hub.files import write_file
from restore_hub.plugins import default_registry
from restore_hub.report import card_of, write_entry

ROOT = Path(__file__).resolve().parent.parent
WORK = Path("runs/zoo")
SOURCES = {
    "skimage": Path(skimage.__file__).parent / "data",
    "sklearn": Path(sklearn.__file__).parent / "datasets" / "images",
}
# All photographs of these packages whose documentation states a licence, except a blurred one and the other view of a
# held-out scene (motorcycle_right). The spec has the licences.
TRAIN = (
    "skimage/astronaut.png",
    "skimage/rocket.jpg",
    "skimage/coffee.png",
    "skimage/ihc.png",
    "skimage/retina.jpg",
    "skimage/hubble_deep_field.jpg",
    "skimage/camera.png",
    "skimage/brick.png",
    "skimage/grass.png",
    "skimage/gravel.png",
    "skimage/coins.png",
    "sklearn/china.jpg",
)
HOLDOUT = ("skimage/chelsea.png", "sklearn/flower.jpg", "skimage/motorcycle_left.png")  # as in pipelines/demo
RATIOS = (20, 100, 300)  # exposure ratios of the held-out pairs
# Pairs that the entry shows; the package states no licence for motorcycle_left, so it's only measured.
SHOWN = (("chelsea", 20), ("flower", 100), ("chelsea", 300))
LIST = "pairs.txt"
BUDGET = 0.2  # dB of PSNR that int8 may lose
HALVED = 400  # photographs with a shorter side from here on also train at half size, for finer detail


def main() -> None:
    """Make the entry that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=sorted(path.stem for path in (ROOT / "model_zoo").glob("*.yaml")))
    parser.add_argument("--card", action="store_true", help="only regenerate the card, after a change to its wording")
    arguments = parser.parse_args()
    name, entry = arguments.name, Path("model_zoo") / arguments.name
    os.chdir(ROOT)
    if arguments.card:
        for folder in (entry, entry.with_name(f"{name}-int8")):
            write_file(folder / "card.md", card_of(folder).encode())
        return
    work = WORK / name
    if not (work / "holdout" / LIST).is_file():
        shutil.rmtree(work, ignore_errors=True)
        copy_training(work / "photographs" / "train")
        make_holdout(work / "photographs", work / "holdout")
    chain = run(f"model_zoo/{name}.yaml", out=work / "run", resume=True).folder / "export" / "chain.onnx"
    write_entries(chain, entry)


def write_entries(chain: Path, entry: Path) -> None:
    """Write the entry of a run's chain, and another one of the chain in int8."""
    folder = chain.parent.parent
    small, _ = quantise(chain, open_judge(folder, default_registry()), BUDGET)
    print(write_entry(folder, entry, overwrite=True))
    print(write_entry(folder, entry.with_name(f"{entry.name}-int8"), model=small.name, overwrite=True))


def copy_training(folder: Path) -> None:
    """Write the training photographs, larger ones in colour also at half size."""
    folder.mkdir(parents=True)
    for name in TRAIN:
        with Image.open(_source(name)) as image:
            photo, coloured = image.convert("RGB"), image.mode != "L"
        stem = Path(name).stem
        photo.save(folder / f"{stem}.png")
        if coloured and min(photo.size) >= HALVED:
            half = (photo.width // 2, photo.height // 2)
            photo.resize(half, Image.Resampling.LANCZOS).save(folder / f"{stem}-half.png")


def make_holdout(photographs: Path, out: Path) -> None:
    """Write DNG pairs of every held-out photograph at every ratio, and their list, which starts with the shown ones."""
    for ratio in RATIOS:
        folder = photographs / f"holdout-{ratio}"
        folder.mkdir(parents=True)
        for name in HOLDOUT:
            shutil.copyfile(_source(name), folder / f"{Path(name).stem}-{ratio}{Path(name).suffix}")
        command = [sys.executable, "-m", "restore_hub", "data", "make-raw", str(folder), str(out / str(ratio))]
        subprocess.run([*command, "--ratio", str(ratio)], check=True)
    pairs = dict.fromkeys([*SHOWN, *((Path(name).stem, ratio) for ratio in RATIOS for name in HOLDOUT)])
    lines = [f"{r}/short/{stem}-{r}.dng {r}/long/{stem}-{r}.dng\n" for stem, r in pairs]
    (out / LIST).write_text("".join(lines), encoding="utf-8")


def _source(name: str) -> Path:
    package, _, file = name.partition("/")
    return SOURCES[package] / file


if __name__ == "__main__":
    main()
