# `make demo` and `make test` work from a fresh clone: they make .venv and install what they need.
.DEFAULT_GOAL := help
SHELL := /bin/sh
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check

.PHONY: help demo test lint types unit interop bench docs screenshot clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/run.stamp ## run the demonstration on port 3000 (PORT=... to change)
	@exec $(BIN)/statecore demo $(if $(PORT),--port $(PORT))

test: lint types unit ## everything that CI runs, real browser and real upstream programs included

lint: $(VENV)/dev.stamp ## ruff: format and rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

# Type checkers do not follow setuptools' package-dir, so they are given an installed copy.
types: $(VENV)/dev.stamp ## mypy (strict) on everything, pyright on the package
	@rm -rf build/types build/lib build/bdist.*
	$(PIP) install --no-deps --no-build-isolation --target build/types .
	MYPYPATH=build/types $(BIN)/mypy -p statecore
	MYPYPATH=build/types $(BIN)/mypy tests docs/examples
	$(BIN)/pyright --pythonpath $(BIN)/python build/types/statecore

unit: $(VENV)/dev.stamp
	@.ci/programs
	$(BIN)/pytest --cov --cov-report=
	$(BIN)/coverage report --include='statecore/*' --fail-under=100
	$(BIN)/coverage report --include='adapters/*,diagrams/*' --fail-under=95

interop: $(VENV)/dev.stamp ## only the tests against upstream's real core, page and router
	@.ci/programs
	$(BIN)/pytest -m interop

bench: $(VENV)/dev.stamp ## round trips per second, latency, many agents at once
	$(BIN)/python tests/benchmarks/bench.py

docs: $(VENV)/dev.stamp ## write the generated pages and diagrams anew
	$(BIN)/python -m statecore.diagrams.generate

screenshot: $(VENV)/dev.stamp ## take the README's picture of the demo anew
	@.ci/programs
	STATECORE_SCREENSHOT=docs/images/demo-chat.png $(BIN)/pytest -q tests/browser/test_picture.py

clean: ## remove what was built
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "statecore needs Python 3.11 or newer: make PYTHON=python3.11 ..."; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "could not make $(VENV): on Debian, install python3-venv"; exit 1; }
	$(PIP) install --upgrade pip setuptools wheel

$(VENV)/run.stamp: $(VENV)/bin/python pyproject.toml
	$(PIP) install --editable '.[all]'
	@touch $@

$(VENV)/dev.stamp: $(VENV)/run.stamp
	$(PIP) install --group dev
	@touch $@
