# Every target sets up .venv by itself from requirements.lock. PYTHON may name another interpreter (3.11 or newer).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Bytecode is kept: without it each of the hundreds of commands that tests start compiles thousands of modules.
export PYTHONDONTWRITEBYTECODE :=
# Tests are many small tensors: one thread each, one worker a core.
TEST_ENV := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1
WORKERS ?= auto

.PHONY: setup demo test test-long test-all lint bench docs clean

setup: $(READY)

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; run: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python -r requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $@

demo: $(READY)
	$(BIN)/python pipelines/demo --out runs/demo

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: lint
	$(TEST_ENV) $(BIN)/pytest -q -m "not long" -n $(WORKERS) --dist loadgroup

test-long: $(READY)
	$(BIN)/pytest -v -m long --durations=10 --timeout 1800

# Everything, and the slow sweeps whole: a hundred kills, every disk size, thousands of damaged files.
test-all: export RESTORE_HUB_TEST_ALL := 1
test-all: test test-long

bench: $(READY)
	$(BIN)/python benchmarks/toy.py
	$(BIN)/python benchmarks/cleaning.py
	$(BIN)/python benchmarks/step_cost.py --size 256 --repeats 5 --hold
	$(BIN)/python benchmarks/peers.py --hold
	for name in groups levels response tracking runtime startup; do $(BIN)/python benchmarks/$$name.py || exit 1; done

docs: $(READY)
	$(BIN)/python docs/generate.py
	$(BIN)/python docs/house.py
	$(BIN)/sphinx-build -q -E -W --keep-going -b html docs build/docs
	@echo "open build/docs/index.html"

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
