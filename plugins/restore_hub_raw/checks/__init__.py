"""Checks of RAW training data before training starts."""
