"""Greedy and beam search over a step function, and the scorers they combine."""
