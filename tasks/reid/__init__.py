"""Person re-identification: the papers' main task."""
