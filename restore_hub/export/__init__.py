"""Blocks and chains to ONNX files that describe themselves."""

from restore_hub.export.deploy import Deployed, deployed_block, deployed_chain
from restore_hub.export.merge import merge
from restore_hub.export.onnx_file import export_onnx
from restore_hub.export.trace import trace

__all__ = ["Deployed", "deployed_block", "deployed_chain", "export_onnx", "merge", "trace"]
