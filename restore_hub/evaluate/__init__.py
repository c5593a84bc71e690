"""Measures: a predictor (a chain, an exported file) on the samples of a split, by metrics, to scores."""
