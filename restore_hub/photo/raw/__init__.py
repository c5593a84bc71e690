"""RAW files: reading a sensor's mosaic, and writing DNG. Nothing here imports torch."""
