"""The suite: one folder a task, where Lightning lives."""
