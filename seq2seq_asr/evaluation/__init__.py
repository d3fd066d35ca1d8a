"""Word and character error rates, their intervals, and reports."""
