"""Blocks and chains to ONNX files that describe themselves."""

from restore_hub.export.deploy import Deployed, deployed_block, deployed_chain
from restore_hub.export.int8 import Scores, export_int8
from restore_hub.export.merge import merge
from restore_hub.export.onnx_file import export_onnx
from restore_hub.export.trace import trace

__all__ = [
    "Deployed",
    "Scores",
    "deployed_block",
    "deployed_chain",
    "export_int8",
    "export_onnx",
    "merge",
    "trace",
]
