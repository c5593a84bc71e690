"""The whole job on photographs: RAW in, bilevel training, a tracked run, ONNX out, restored pictures and a report.

Turns photographs into dark DNG files, a few of them with bright ones as references, trains
`pipelines/few_references.yaml` on them, and restores held-out dark DNGs with the exported ONNX file, without torch.
Compares the result with methods that need no training, and with other ways to spend the same training time.
"""

from __future__ import annotations

import argparse
import itertools
import shutil
import subprocess
import sys
import time
from pathlib import Path

import classical
from photographs import SPLITS, copy_photographs
from sheet import write_sheet

from report import Row, table, write_report

RATIO = 100.0  # long over short exposure time; the noise is make-raw's default, which pairs.json states


def main() -> None:
    """Run the demo into a new folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/demo"), help="new folder; numbered if it exists")
    parser.add_argument("--steps", type=int, nargs=2, metavar=("WARM", "BILEVEL"), help="outer steps, for a quick look")
    arguments = parser.parse_args()
    started = time.monotonic()
    out = arguments.out if not arguments.out.exists() else _numbered(arguments.out)
    out.mkdir(parents=True)
    data = make_pairs(out)
    rows = classical_rows(data)
    print("training the pipeline (only now importing torch)", flush=True)
    from training import train

    result, variants = train(data, out, arguments.steps or ())
    rows += [
        Row(v.name, v.stage.seconds, v.stage.steps, restored(v.chain, data, out / "restored" / v.label))
        for v in variants
    ]
    references = {long.stem: classical.reference(long) for _, long in pairs_of(data / "holdout")}
    write_sheet(out / "sheet.png", rows, references)
    write_report(out / "report.md", rows, references, result, RATIO)
    print(f"\n{table(rows, references)}\n")
    print(f"pictures   {out / 'sheet.png'} and {out / 'restored'}")
    print(f"report     {out / 'report.md'}")
    print(f"ONNX       {', '.join(str(path) for path in result.exported)}")
    print(f"tracker    {result.where}")
    print(f"took       {time.monotonic() - started:.0f} s")


def make_pairs(out: Path) -> Path:
    """Make the DNG files of each split with the command line; return their folder."""
    data = out / "data"
    command = [sys.executable, "-m", "restore_hub", "data", "make-raw"]
    for split, folder in copy_photographs(out / "photographs").items():
        subprocess.run([*command, str(folder), str(data / split), "--ratio", f"{RATIO:g}"], check=True)
    short = data / "dark" / "short"
    for file in short.iterdir():  # the references of these aren't used
        file.rename(data / "dark" / file.name)
    short.rmdir()
    shutil.rmtree(data / "dark" / "long")
    return data


def pairs_of(folder: Path) -> list[tuple[Path, Path]]:
    """Return (short, long) of each pair in a folder."""
    return [(short, folder / "long" / short.name) for short in sorted((folder / "short").glob("*.dng"))]


def classical_rows(data: Path) -> list[Row]:
    """Develop the held-out dark files without a network, by methods fitted to the networks' training pairs."""
    training = pairs_of(data / "references")
    print(f"fitting a tone curve and a denoiser to the {len(training)} pairs that have references", flush=True)
    fitted = classical.fit(training)
    rows = [Row(name, None, None, {}) for name in ("rawpy, same gain", "with tone curve", "with non-local means")]
    for short, _ in pairs_of(data / "holdout"):
        rendered = classical.render(short, classical.gain_of(short))
        for row, picture in zip(rows, (rendered, fitted.toned(rendered), fitted.denoised(rendered)), strict=True):
            row.pictures[short.stem] = picture
    return rows


def restored(chain: Path, data: Path, folder: Path) -> dict[str, classical.Picture]:
    """Restore the held-out dark files with an ONNX file, in a process that can't import torch."""
    from restore_hub.photo.pictures import read_picture

    code = "import sys; sys.modules['torch'] = None; from restore_hub.cli import main; main(sys.argv[1:])"
    arguments = ["restore", str(chain), str(data / "holdout" / "short"), "-o", str(folder), "--bits", "16"]
    subprocess.run([sys.executable, "-c", code, *arguments], check=True, stdout=subprocess.DEVNULL)
    return {path.stem: read_picture(path).pixels.astype(float) for path in sorted(folder.glob("*.png"))}


def _numbered(path: Path) -> Path:
    return next(p for n in itertools.count(2) if not (p := path.with_name(f"{path.name}-{n}")).exists())


if __name__ == "__main__":
    assert set(SPLITS) == {"references", "dark", "holdout"}
    main()
