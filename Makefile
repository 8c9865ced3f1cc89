# `make demo` and `make test` need only Python 3.11 to 3.13 and make. `make help` lists the targets.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := build/demo
.DEFAULT_GOAL := help
# Number of processes that run the tests; each takes up to 2 GB.
PROCESSES ?= 2

.PHONY: help demo test test-cluster bench bench-downstream corpus-is-named check format lint types install lock clean
.DELETE_ON_ERROR:

help:  ## lists these targets (the default)
	@awk -F ':.*  ## ' '/^[a-z-]+:.*  ## / { printf "  make %-16s %s\n", $$1, $$2 }' Makefile

demo: $(VENV)/.score  ## scores the sample recordings and shows the result
	@rm -rf $(DEMO)
	$(BIN)/audiosieve score --input tests/samples/audio --output $(DEMO)
	@$(BIN)/python tests/samples/show.py $(DEMO)

test: $(VENV)/.dev  ## runs all tests except those on clusters: 18 minutes on two cores
	$(BIN)/python -m pytest -n $(PROCESSES) --dist loadfile

# Maven and Go fetch Flink and Prism once into build/cluster. If they cannot be fetched, the tests are skipped.
test-cluster: $(VENV)/.dev  ## runs the tests on Flink and Prism, which Maven and Go fetch
	$(BIN)/python -m pytest -m cluster tests/cluster

check: lint types  ## runs lint, types and the quick tests: no complete pipelines, no training
	$(BIN)/python -m pytest -n $(PROCESSES) --dist loadfile -m "not slow"

format: $(VENV)/.dev  ## sorts the imports and formats the code
	$(BIN)/ruff check --select I --fix .
	$(BIN)/ruff format .

lint: $(VENV)/.dev  ## checks the style and the format of the code
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev  ## checks the types
	$(BIN)/mypy

bench: $(VENV)/.dev  ## measures speed and memory
	$(BIN)/python -m tests.benchmarks.throughput
	$(BIN)/python -m tests.benchmarks.scale
	$(BIN)/python -m tests.benchmarks.listing
	$(BIN)/python -m tests.benchmarks.synthesis
	$(BIN)/python -m tests.benchmarks.serve

bench-downstream: corpus-is-named $(VENV)/.dev  ## trains a speech enhancer on selections of a corpus, and compares them
	$(BIN)/python -m tests.benchmarks.downstream "$$AUDIOSIEVE_CORPUS/manifest.csv" build/downstream

# Before anything is installed.
corpus-is-named:
	@test -f "$$AUDIOSIEVE_CORPUS/manifest.csv" || { echo "AUDIOSIEVE_CORPUS is '$$AUDIOSIEVE_CORPUS'; it must name a folder with \
	a manifest.csv of speech, noise, music and rooms (docs/downstream.md)" >&2; exit 1; }

install: $(VENV)/.dev  ## installs the package and the development tools into .venv

lock: $(VENV)/.dev  ## updates the versions in requirements*.lock
	$(BIN)/python -m pip install -q uv
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --no-header setup.py -o requirements.lock
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --no-header --extra dev -c requirements.lock setup.py -o requirements-dev.lock
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --no-header --extra gcp --extra media -c requirements-dev.lock setup.py -o requirements-gcp.lock
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --no-header --extra gpu -c requirements-gcp.lock setup.py -o requirements-gpu.lock
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --no-header --extra train -c requirements.lock setup.py -o requirements-train.lock

clean:  ## removes .venv and build
	rm -rf $(VENV) build

$(BIN)/python:
	$(PYTHON) -c 'import sys; assert (3, 11) <= sys.version_info < (3, 14), "audiosieve needs Python 3.11, 3.12 or 3.13"'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.score: requirements.lock setup.py | $(BIN)/python
	$(BIN)/python -m pip install -q --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps -e .
	@touch $@

# PESQ is built from source. Without a C compiler its tests are skipped with a message.
$(VENV)/.dev: requirements-dev.lock requirements-train.lock $(VENV)/.score
	$(BIN)/python -m pip install -q --disable-pip-version-check -r requirements-dev.lock
	@if command -v cc >/dev/null || command -v gcc >/dev/null; then \
		$(BIN)/python -m pip install -q --disable-pip-version-check -r requirements-train.lock; \
	else echo "no C compiler: PESQ is not installed, and its tests will be skipped"; fi
	@touch $@
