# Everything starts from a fresh clone: each target makes the virtual environment it needs.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Versions that pip must keep to, e.g. CONSTRAINTS=.ci/constraints.txt; users are bound by none.
CONSTRAINTS ?=
# What the tests are run with, beyond the library itself: "test,networks" adds those that need PyTorch.
EXTRAS ?= test
INSTALL := $(if $(CONSTRAINTS),PIP_CONSTRAINT=$(CONSTRAINTS)) \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable
# The Pythons for which "make test-all" runs the tests, where they are installed.
PYTHONS := 3.11 3.12 3.13

.PHONY: demo test test-all test-networks docs tables lint validate benchmark clean

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) ".[$(EXTRAS)]"
	touch $@

$(VENV)/.developed: $(VENV)/.installed
	$(INSTALL) ".[$(EXTRAS),dev]"
	touch $@

$(VENV)/.independent: $(VENV)/.installed
	$(INSTALL) ".[$(EXTRAS),validation]"
	touch $@

$(VENV)/.networks: $(VENV)/.installed
	$(INSTALL) ".[$(EXTRAS),networks]"
	touch $@

demo: $(VENV)/.installed  ## how SGD is distributed on real data: a table, demo.h5 and demo.png
	$(BIN)/dfp demo --force

test: $(VENV)/.installed  ## the tests, in minutes
	$(BIN)/python -m pytest -n auto --maxprocesses 4

test-all:  ## the tests for every Python that dfp supports and this machine has, each in an environment of its own
	@for version in $(PYTHONS); do \
		if command -v python$$version > /dev/null && python$$version -c "" 2> /dev/null; then \
			echo "Python $$version"; $(MAKE) test PYTHON=python$$version VENV=.venv-$$version || exit 1; \
		else echo "Python $$version is not installed"; fi; \
	done

test-networks: $(VENV)/.networks  ## the tests of real networks, which need PyTorch
	$(BIN)/python -m pytest tests/networks

validate: $(VENV)/.independent  ## the evidence: verdicts, numbers and report.html in validation/results
	$(BIN)/python -m validation

benchmark: $(VENV)/.installed  ## speed beside the alternatives that are installed, with verdicts
	$(BIN)/python -m validation.benchmarks $(BENCHMARK)

docs: $(VENV)/.developed  ## the documentation, every number executed, in docs/_build/html; it loads nothing from other hosts
	$(BIN)/python -m sphinx -W --keep-going -b html docs docs/_build/html
	$(BIN)/python docs/outside.py docs/_build/html

tables: $(VENV)/.installed  ## the tables of solvers in the README and on the pages, from the classes
	$(BIN)/python docs/tables.py

lint: $(VENV)/.developed  ## style, types and the directions of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

clean:
	rm -rf .venv .venv-3.* docs/_build docs/auto_gallery docs/auto_api docs/jupyter_execute validation/results demo.h5 demo.png
