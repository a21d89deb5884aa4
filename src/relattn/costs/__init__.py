"""The cost of attention, measured side by side."""
