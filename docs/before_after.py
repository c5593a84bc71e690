"""Draw the picture of the README: a dark RAW file, brightened, and restored by the model `zoo:raw-lowlight`.

    python docs/before_after.py        # writes docs/images/before-after.jpg

The photograph is scikit-image's `chelsea` (CC0), which trained nothing. It becomes a dark DNG with noise, 100 times
too short an exposure, as `restore-hub data make-raw` makes it.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import rawpy
from PIL import Image, ImageDraw, ImageFont
from skimage import data

from restore_hub import restore
from restore_hub_raw.synthesis.make_folder import make_folder
from restore_hub_raw.synthesis.recipe import Recipe

GAIN = 100
OUT = Path(__file__).with_name("images") / "before-after.jpg"
TITLES = ("the dark RAW file", f"brightened {GAIN} times", "restored by zoo:raw-lowlight")
WIDTH, GAP, BAR = 400, 8, 34  # of one panel, between panels, and of the line of text below


def developed(photo: Path, gain: float) -> Image.Image:
    """Return LibRaw's plain rendering of a RAW file, brightened by `gain`."""
    with rawpy.imread(str(photo)) as raw:
        white = raw.white_level - max(raw.black_level_per_channel)
        options = {"use_camera_wb": True, "no_auto_bright": True, "adjust_maximum_thr": 0, "gamma": (2.4, 12.92)}
        return Image.fromarray(raw.postprocess(user_sat=max(round(white / gain), 1), **options))


def panels(folder: Path) -> list[Image.Image]:
    """Return the dark picture, the brightened one and the restored one."""
    (folder / "photos").mkdir()
    Image.fromarray(data.chelsea()).save(folder / "photos" / "chelsea.png")
    make_folder(folder / "photos", folder / "pairs", Recipe(ratio=float(GAIN)))
    dark = folder / "pairs" / "short" / "chelsea.dng"
    restore("zoo:raw-lowlight", dark, folder / "restored.png", gain=GAIN)
    return [developed(dark, 1), developed(dark, GAIN), Image.open(folder / "restored.png").convert("RGB")]


def sheet(pictures: list[Image.Image]) -> Image.Image:
    """Return the pictures side by side on white, each with its title below."""
    height = round(WIDTH * pictures[0].height / pictures[0].width)
    page = Image.new("RGB", (len(pictures) * (WIDTH + GAP) - GAP, height + BAR), "white")
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(16)
    for i, (picture, title) in enumerate(zip(pictures, TITLES, strict=True)):
        left = i * (WIDTH + GAP)
        page.paste(picture.resize((WIDTH, height), Image.Resampling.LANCZOS), (left, 0))
        draw.text((left + WIDTH / 2, height + BAR / 2), title, fill=(60, 60, 60), font=font, anchor="mm")
    return page


def main() -> None:
    """Write the picture."""
    with tempfile.TemporaryDirectory() as folder:
        page = sheet(panels(Path(folder)))
    page.save(OUT, quality=88, optimize=True)
    print(f"{OUT}: {page.width} x {page.height}, {OUT.stat().st_size // 1024} KiB, mean {np.asarray(page).mean():.1f}")


if __name__ == "__main__":
    main()
