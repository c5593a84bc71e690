"""Runs exported ONNX files on RAW and RGB pictures. Nothing here imports torch."""

from restore_hub.runtime.batch import RestoredFolder, Result, restore_folder
from restore_hub.runtime.model import Model, load
from restore_hub.runtime.photo import Restored, restore

__all__ = ["Model", "Restored", "RestoredFolder", "Result", "load", "restore", "restore_folder"]
