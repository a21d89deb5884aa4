# Each target sets up what it needs: `make demo` and `make test` work in a fresh clone.
PYTHON ?= python3
BIN := .venv/bin
export WANDB_MODE ?= offline
export NO_ALBUMENTATIONS_UPDATE := 1
export NO_MKDOCS_2_WARNING := 1

.PHONY: setup demo test test-slow lint docs clean

setup: .venv/installed

.venv/installed: requirements.txt pyproject.toml
	test -x $(BIN)/pip || $(PYTHON) -m venv .venv || { rm -rf .venv; echo "Debian: apt install python3-venv"; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@

demo: setup
	$(BIN)/relattn demo

test: setup lint
	$(BIN)/python -m pytest -n 2 -m "not slow"

test-slow: setup
	$(BIN)/python -m pytest -m slow

lint: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

docs: setup
	$(BIN)/mkdocs build --strict --config-file docs/mkdocs/mkdocs.yml

clean:
	rm -rf .venv runs data site
