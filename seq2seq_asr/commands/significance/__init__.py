"""Paired tests between decodings of the same utterances."""
