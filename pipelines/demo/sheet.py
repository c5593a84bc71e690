"""A contact sheet: a row for each held-out picture, a column for each method, with its PSNR."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from classical import Picture
from PIL import Image, ImageDraw, ImageFont

from report import Row, scores

CELL = 240  # width of a picture on the sheet, pixels
CAPTION = 34
MARGIN = 8


def write_sheet(path: Path, rows: Sequence[Row], references: Mapping[str, Picture]) -> None:
    """Write the sheet as PNG; the last column is the reference."""
    height = max(round(CELL * p.shape[0] / p.shape[1]) for p in references.values())
    columns = len(rows) + 1
    size = (MARGIN + columns * (CELL + MARGIN), MARGIN + len(references) * (height + CAPTION + MARGIN))
    sheet = Image.new("RGB", size, (250, 250, 250))
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(13)
    found = [scores(row, references)["psnr"] for row in rows]
    for line, name in enumerate(references):
        top = MARGIN + line * (height + CAPTION + MARGIN)
        for column in range(columns):
            left = MARGIN + column * (CELL + MARGIN)
            last = column == len(rows)
            picture = references[name] if last else rows[column].pictures[name]
            title = "reference (long exposure)" if last else rows[column].name
            note = name if last else f"{found[column][list(rows[column].pictures).index(name)]:.2f} dB"
            sheet.paste(_thumbnail(picture), (left, top + CAPTION))
            draw.text((left, top), title, fill=(20, 20, 20), font=font)
            draw.text((left, top + 16), note, fill=(110, 110, 110), font=font)
    sheet.save(path)


def _thumbnail(picture: Picture) -> Image.Image:
    image = Image.fromarray(np.round(np.clip(picture, 0, 1) * 255).astype(np.uint8))
    return image.resize((CELL, round(CELL * image.height / image.width)), Image.Resampling.LANCZOS)
