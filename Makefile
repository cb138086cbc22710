# `make help` lists the targets. Everything runs in .venv, which is made when it is missing or when its inputs change.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PLOTS := $(VENV)/.plots
# What `make check` runs: quick, and without servers.
QUICK_TESTS := $(wildcard tests/unit tests/cases tests/flow tests/fuzz tests/chaos/test_frame.py)
# Tests on real servers mostly wait, so two processes, each with servers of its own (2 GB), take a file each; the long ones begin. A test
# that hangs ends its process: beside another and on a slow machine one may take five minutes without that.
AT_ONCE := --numprocesses 2 --dist loadfile --no-loadscope-reorder --override-ini faulthandler_timeout=1200

.DEFAULT_GOAL := help
.PHONY: help venv demo format check test chaos chaos-short simulate mutations bench bench-full wheel docs clean

help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

venv: $(READY) ## Make .venv with the pinned packages (PYTHON=python3.11 or later)

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or later is needed, $(PYTHON) is not: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)"; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[pg,protobuf,librdkafka,dev]'
	@touch $@

# Benchmarks draw plots, which nothing else here needs.
$(PLOTS): $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[bench]'
	@touch $@

demo: $(READY) ## See the worker at work for half a minute: no servers needed (ARGS=--keep to look around)
	@$(BIN)/ingest demo $(ARGS)

format: $(READY) ## Format the code
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

check: $(READY) ## Format, lint, types, and the tests that need no server
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/python -m pytest --quiet --numprocesses auto --doctest-modules ingest $(QUICK_TESTS)

test: check ## All that this machine can run; what it lacks is named in the last lines
	$(BIN)/python -m pytest --quiet $(AT_ONCE) $(wildcard tests/integration tests/packaging tests/contract tests/oracle tests/properties)
	$(BIN)/python -m tests.chaos --short --no-record

chaos: $(READY) ## The fault matrix on real servers, an hour (ARGS="--row killed --seed 7" for some of it)
	$(BIN)/python -m tests.chaos $(ARGS)

chaos-short: $(READY) ## A dozen rows of it, under a quarter of an hour
	$(BIN)/python -m tests.chaos --short $(ARGS)

simulate: $(READY) ## Groups of workers through seeded crashes, zombies and rebalances (ARGS="5000 1": how many, from which seed)
	PYTHONHASHSEED=0 $(BIN)/python -m tests.flow.test_group $(or $(ARGS),2000)

mutations: $(READY) ## Break one rule at a time and see that a test notices (ARGS="no-seek" for one)
	$(BIN)/python -m tests.mutations $(ARGS)

soak: $(READY) ## An hour of load and random faults on real servers, then judged (ARGS="--minutes 60 --seed 1")
	$(BIN)/python bench/soak.py $(ARGS)

bench: $(PLOTS) ## Beside what others use, a quarter of an hour, into docs/benchmark (ARGS='--only "40 columns"')
	$(BIN)/python -m bench.compare --publish $(ARGS)

bench-full: $(PLOTS) ## All streams, contenders, growth curves and latencies: hours on a quiet machine
	$(BIN)/python -m bench.compare --full --publish $(ARGS)
	$(BIN)/python -m bench.curves --publish
	$(BIN)/python -m bench.latency --publish

wheel: $(READY) ## Build wheel and sdist into dist/, byte for byte the same for the same sources
	$(BIN)/python -m build --no-isolation

docs: $(READY) ## Write the pages of docs/ that are made from declarations
	$(BIN)/python -m ingest.tools.docs
	$(BIN)/python -m tests.cases.formats_page

clean: ## Remove .venv and caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist *.egg-info
