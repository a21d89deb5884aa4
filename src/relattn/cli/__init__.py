"""The door: one command, whose modules are imported when they are used."""
