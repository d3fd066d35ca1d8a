"""Examining a corpus before training."""
