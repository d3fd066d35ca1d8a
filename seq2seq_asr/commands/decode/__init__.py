"""Decoding audio files or a manifest: results, resuming, output formats, hot words."""
