"""Making an n-gram model."""
