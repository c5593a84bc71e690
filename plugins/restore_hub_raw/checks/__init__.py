"""Checks of RAW data before training."""
