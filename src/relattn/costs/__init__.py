"""Cost of attention, measured side by side."""
