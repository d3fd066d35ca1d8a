"""What stands behind the entry points: one folder a command."""
