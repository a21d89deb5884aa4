"""The suite, built on Lightning: one folder per task."""
