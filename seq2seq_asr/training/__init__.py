"""Lightning module, schedules, checkpoint files, loggers and callbacks."""
