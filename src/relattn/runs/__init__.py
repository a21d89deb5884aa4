"""A run's folder: its name, state, records, checkpoints, and how it is continued."""
