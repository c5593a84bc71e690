"""RAW exposures made from ordinary photos."""
