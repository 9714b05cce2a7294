# Everything starts from a fresh clone: each target makes the virtual environment it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test test-networks docs lint validate benchmark clean

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[test]"
	touch $@

$(VENV)/.developed: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[dev]"
	touch $@

$(VENV)/.independent: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[test,validation]"
	touch $@

$(VENV)/.networks: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[test,networks]"
	touch $@

demo: $(VENV)/.installed  ## how SGD is distributed on real data: a table, demo.h5 and demo.png
	$(BIN)/dfp demo --force

test: $(VENV)/.installed  ## the tests, in minutes
	$(BIN)/python -m pytest

test-networks: $(VENV)/.networks  ## the tests of real networks, which need PyTorch
	$(BIN)/python -m pytest tests/networks

validate: $(VENV)/.independent  ## the evidence: verdicts, numbers and report.html in validation/results
	$(BIN)/python -m validation

benchmark: $(VENV)/.installed  ## speed beside the alternatives that are installed, with verdicts
	$(BIN)/python -m validation.benchmarks $(BENCHMARK)

docs: $(VENV)/.developed  ## the documentation, every number executed, in docs/_build/html
	$(BIN)/python -m sphinx -W --keep-going -b html docs docs/_build/html

lint: $(VENV)/.developed  ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) docs/_build docs/jupyter_execute validation/results demo.h5 demo.png
