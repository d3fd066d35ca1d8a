"""Probing how the gradient flows back through time."""
