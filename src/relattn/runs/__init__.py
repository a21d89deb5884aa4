"""A run's folder: its name, state, records and checkpoints, and how to resume it."""
