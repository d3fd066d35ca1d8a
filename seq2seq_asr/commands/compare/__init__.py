"""Comparing systems under an equal budget: a grid of runs, their statistics and a report."""
