PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test check clean

demo: $(STAMP)  ## every method on embedded photographs: tables and pictures in runs/demo
	$(BIN)/python -m benchmarks experiment=demo

test: $(STAMP)  ## the tests
	$(BIN)/python -m pytest

check: $(STAMP)  ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:  ## remove the environment; results in runs/ stay
	rm -rf $(VENV) build *.egg-info
