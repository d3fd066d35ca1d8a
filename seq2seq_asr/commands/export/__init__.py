"""Exporting a run for others."""
