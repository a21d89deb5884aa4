"""`python -m relattn` is the command `relattn`."""

from relattn.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
