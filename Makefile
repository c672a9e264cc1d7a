PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo paper test check docs clean

SCALE ?= laptop
ARGS ?=
EXPERIMENTS := table1 table2 fig1 fig2 fig3 fig4 fig5_cifar100 fig5_imagenet fig6 runtime

demo: $(STAMP)  ## every method on embedded photographs: tables and pictures in runs/demo
	$(BIN)/python -m benchmarks experiment=demo

paper: $(STAMP)  ## every table and figure of the paper in runs/: make paper SCALE=smoke|laptop|paper ARGS="dataset.root=..."
	for name in $(EXPERIMENTS); do $(BIN)/python -m benchmarks experiment=$$name scale=$(SCALE) $(ARGS) || failed="$$failed $$name"; done; \
	test -z "$$failed" || { echo "failed:$$failed"; exit 1; }

test: $(STAMP)  ## the tests
	$(BIN)/python -m pytest -n 2 --dist loadfile

check: $(STAMP)  ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(STAMP)  ## the documentation as pages in site/; a dead link is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:  ## remove the environment; results in runs/ stay
	rm -rf $(VENV) build *.egg-info
