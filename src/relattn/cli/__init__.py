"""The `relattn` command, whose modules are imported only when they are used."""
