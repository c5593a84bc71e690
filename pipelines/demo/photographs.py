"""The demo's photographs: files from scikit-image and scikit-learn, in fixed splits."""

from __future__ import annotations

import shutil
from pathlib import Path

# Few have references, many have none. Those held out are used only for measuring: the exported weights are those of the
# last step.
SPLITS = {
    "references": ("skimage/astronaut.png", "skimage/coffee.png", "sklearn/china.jpg"),
    "dark": tuple(
        f"skimage/{name}"
        for name in (
            "brick.png",
            "camera.png",
            "cell.png",
            "coins.png",
            "grass.png",
            "gravel.png",
            "hubble_deep_field.jpg",
            "ihc.png",
            "moon.png",
            "retina.jpg",
            "rocket.jpg",
        )
    ),
    "holdout": ("skimage/chelsea.png", "skimage/motorcycle_left.png", "sklearn/flower.jpg"),
}


def copy_photographs(folder: Path) -> dict[str, Path]:
    """Copy the photographs to `folder/<split>/` and return the folder of each split."""
    import skimage
    import sklearn

    sources = {
        "skimage": Path(skimage.__file__).parent / "data",
        "sklearn": Path(sklearn.__file__).parent / "datasets" / "images",
    }
    folders = {}
    for split, names in SPLITS.items():
        folders[split] = folder / split
        folders[split].mkdir(parents=True)
        for name in names:
            package, _, file = name.partition("/")
            shutil.copyfile(sources[package] / file, folders[split] / file)
    return folders
