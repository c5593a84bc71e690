"""Looks ahead without training: forecasts, comparisons of solvers, checks of hypergradients."""
