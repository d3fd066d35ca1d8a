"""Tuning the search on a dev set: sweeps, the best settings, calibrated word confidences."""
