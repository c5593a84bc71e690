"""The package that darktable 5.6 imports: a zip with one folder, named like the model's `id`.

The folder holds `config.json` and `model_bayer.onnx`.
Source: darktable, `src/common/ai/restore.h`; darktable-ai, `rawdenoise-nind/model.yaml`.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from pathlib import Path
from typing import Any

from restore_hub.errors import ExportError, MissingExtraError, OptionError
from restore_hub.model.manifest import Manifest
from restore_hub.model.model import load

TILE = 512  # the side that darktable's own model has
_NO_DATE = (1980, 1, 1, 0, 0, 0)  # so the same model gives the same bytes


class DtModel:
    """A `.dtmodel` file for the task `rawdenoise`, variant Bayer.

    Args:
        tile: side of the planes that darktable passes at once, in pixels.
    """

    suffix = ".dtmodel"

    def __init__(self, tile: int = TILE) -> None:
        if tile < 2:
            raise OptionError("darktable.bad-tile", "tile", got=tile)
        self.tile = tile

    def pack(self, source: Path, name: str) -> bytes:
        """Return the package; darktable lists it as `rawdenoise NAME`.

        Raises:
            ExportError: the file doesn't turn a mosaic into a mosaic, needs a number, or gives other values in
                darktable's form.
            MissingExtraError: onnx isn't installed.
            ModelFileError: `source` can't be loaded.
        """
        model = load(source)
        if model.manifest.kind != "raw-to-raw":
            raise ExportError("darktable.needs-mosaics", source, does=model.manifest.kind)
        needed = ", ".join(number.name for number in model.manifest.numbers if number.default is None)
        if needed:
            raise ExportError("darktable.needs-defaults", source, numbers=needed)
        try:
            from restore_hub_darktable.bayer_graph import bayer_graph, largest_difference
        except ModuleNotFoundError as error:
            raise MissingExtraError("darktable.needs-onnx") from error
        graph = bayer_graph(model.path, self.tile)
        difference = largest_difference(model, graph, self.tile)
        if difference is not None:
            raise ExportError("darktable.not-the-same", source, difference=difference)
        model_id = "rawdenoise-" + (re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "restore-hub")
        return _zipped(
            model_id, {"config.json": _config(model_id, model.manifest, self.tile), "model_bayer.onnx": graph}
        )


def _config(model_id: str, manifest: Manifest, tile: int) -> bytes:
    bayer = {
        "input_kind": "bayer_v1",
        "bayer_orientation": "force_rggb",
        "edge_pad": "mirror_cropped",
        "wb_norm": "as_shot",
        "output_scale": "absolute",  # the output has the input's brightness, so darktable need not match it
    }
    config: dict[str, Any] = {
        "id": model_id,
        "name": model_id.replace("-", " "),
        "description": f"{manifest.name}, exported by restore_hub; licence {manifest.licence}",
        "task": "rawdenoise",
        "arch": "restore_hub",
        "backend": "onnx",
        "version": "1.0",
        "tiling": True,
        "num_inputs": 1,
        "attributes": {"input_sizes": [tile], "model_bayer": bayer},
    }
    return json.dumps(config, indent=2).encode()


def _zipped(folder: str, files: dict[str, bytes]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as package:
        for name, data in files.items():
            package.writestr(zipfile.ZipInfo(f"{folder}/{name}", _NO_DATE), data, zipfile.ZIP_DEFLATED)
    return content.getvalue()
