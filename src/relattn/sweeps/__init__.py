"""Sweeps: the papers' tables as files, their runs as folders, and reports of what came out. No torch in here."""
