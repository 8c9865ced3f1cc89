# `make demo` and `make test` need Python 3.11 to 3.13 and make, nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := build/demo
# In which the tests run; each takes up to 2 GB.
PROCESSES ?= 2

.PHONY: demo test test-cluster bench lint types lock clean
.DELETE_ON_ERROR:

demo: $(VENV)/.score
	@rm -rf $(DEMO)
	$(BIN)/audiosieve score --input tests/samples/audio --output $(DEMO)
	@$(BIN)/python tests/samples/show.py $(DEMO)

test: $(VENV)/.dev
	$(BIN)/python -m pytest -n $(PROCESSES) --dist loadfile

# Flink and Prism, which Maven and Go fetch once into build/cluster; skipped where they cannot be had.
test-cluster: $(VENV)/.dev
	$(BIN)/python -m pytest -m cluster tests/cluster

bench: $(VENV)/.dev
	$(BIN)/python -m tests.benchmarks.throughput
	$(BIN)/python -m tests.benchmarks.scale
	$(BIN)/python -m tests.benchmarks.listing
	$(BIN)/python -m tests.benchmarks.synthesis
	$(BIN)/python -m tests.benchmarks.serve

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev
	$(BIN)/mypy

# Resolves the locks anew from setup.py.
lock: $(VENV)/.dev
	$(BIN)/python -m pip install -q uv
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --no-header setup.py -o requirements.lock
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --no-header --extra dev -c requirements.lock setup.py -o requirements-dev.lock
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --no-header --extra gcp -c requirements-dev.lock setup.py -o requirements-gcp.lock
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --no-header --extra gpu -c requirements-gcp.lock setup.py -o requirements-gpu.lock
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --no-header --extra train -c requirements.lock setup.py -o requirements-train.lock

clean:
	rm -rf $(VENV) build

$(BIN)/python:
	$(PYTHON) -c 'import sys; assert (3, 11) <= sys.version_info < (3, 14), "audiosieve needs Python 3.11, 3.12 or 3.13"'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.score: requirements.lock setup.py | $(BIN)/python
	$(BIN)/python -m pip install -q --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps -e .
	@touch $@

# PESQ is built from source: without a C compiler its tests are skipped, and say so.
$(VENV)/.dev: requirements-dev.lock requirements-train.lock $(VENV)/.score
	$(BIN)/python -m pip install -q --disable-pip-version-check -r requirements-dev.lock
	@if command -v cc >/dev/null || command -v gcc >/dev/null; then \
		$(BIN)/python -m pip install -q --disable-pip-version-check -r requirements-train.lock; \
	else echo "no C compiler: without PESQ, its tests will be skipped"; fi
	@touch $@
