"""Measures candidates (a chain, an exported file, results) on samples by metrics, and tells whether they differ."""
