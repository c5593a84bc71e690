"""Photographs to RAW: unprocessing, sensor noise, DNG pairs."""
