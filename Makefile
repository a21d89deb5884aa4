# Each target sets up what it needs: `make demo` and `make test` work in a fresh clone.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile
UV := $(BIN)/uv pip install --quiet --python $(BIN)/python
# uv installs in a third of the time; pip is asked where uv cannot reach the index that pip is configured for.
export WANDB_MODE ?= offline
export NO_ALBUMENTATIONS_UPDATE := 1
export NO_MKDOCS_2_WARNING := 1
# Containers often forbid bytecode; without it each process compiles torch and Lightning anew, for ten seconds or more.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: setup lock audit demo test test-fast test-slow test-lowest test-newest bench lint docs clean

setup: .venv/compiled

.venv/installed: requirements.lock pyproject.toml
	test -x $(BIN)/pip || $(PYTHON) -m venv .venv || { rm -rf .venv; echo "Debian: apt install python3-venv"; exit 1; }
	$(PIP) 'uv>=0.9'
	$(UV) --require-hashes -r requirements.lock || $(PIP) --require-hashes -r requirements.lock
	$(UV) --no-deps -e . || $(PIP) --no-deps -e .
	touch $@

# Checks that the command works, and compiles the bytecode that training imports.
.venv/compiled: .venv/installed
	$(BIN)/relattn fit --task classification --print_config > $@

# Every package with the hashes of its files, for all platforms; `make lock UPGRADE=--upgrade` takes newer ones.
lock: .venv/installed
	grep -v '^-e' requirements.txt | $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	    --no-header --no-emit-index-url --no-annotate $(UPGRADE) -o requirements.lock -

# Checks the locked packages against PyPI's security advisories; needs a network connection.
audit: .venv/installed
	$(BIN)/uvx pip-audit --disable-pip --require-hashes --requirement requirements.lock

demo: .venv/installed
	$(BIN)/relattn demo

# Linters and tests run in parallel, on one core each.
test: .venv/installed
	$(MAKE) --no-print-directory --jobs 2 lint test-fast

test-fast: .venv/installed
	$(BIN)/python -m pytest -n 2 -m "not slow" --durations 20

test-slow: .venv/installed
	$(BIN)/python -m pytest -m slow

# The same tests on the oldest versions that pyproject.toml admits (torch 2.11), and on the newest there are.
test-lowest: RESOLUTION := lowest-direct
test-newest: RESOLUTION := highest
test-lowest test-newest: .venv/installed
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python .venv-$(RESOLUTION)
	$(BIN)/uv pip install --quiet --python .venv-$(RESOLUTION) --resolution $(RESOLUTION) -e '.[suite,test,export,docs,notebooks,weights]'
	.venv-$(RESOLUTION)/bin/python -m pytest -n 2 -m "not slow"

bench: .venv/installed
	$(BIN)/python benchmarks/run_all.py

lint: .venv/installed
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

docs: .venv/installed
	$(BIN)/mkdocs build --strict --config-file docs/mkdocs/mkdocs.yml

clean:
	rm -rf .venv .venv-* site
