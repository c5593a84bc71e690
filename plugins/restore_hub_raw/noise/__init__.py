"""The noise of a RAW sensor: its model, how it's measured, and the file that keeps it."""
