"""An exported ONNX file: its manifest, session, tiles and memory. Nothing here imports torch."""
