PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo paper reproduction unit test test-all check docs clean

SCALE ?= laptop
ARGS ?=
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadfile
EXPERIMENTS := table1 table2 fig1 fig2 fig3 fig4 fig5_cifar100 fig5_imagenet fig6 runtime

demo: $(STAMP)  ## every method on embedded photographs: tables and pictures in runs/demo
	$(BIN)/python -m benchmarks experiment=demo

paper: $(STAMP)  ## every table and figure of the paper in runs/: make paper SCALE=smoke|laptop|paper ARGS="dataset.root=..."
	for name in $(EXPERIMENTS); do $(BIN)/python -m benchmarks experiment=$$name scale=$(SCALE) $(ARGS) || failed="$$failed $$name"; done; \
	test -z "$$failed" || { echo "failed:$$failed"; exit 1; }

reproduction: $(STAMP)  ## tables and figures of README.md and docs from the rows in docs/rows; RECOMPUTE=1: from the images, which takes hours
	$(BIN)/python -m results pages $(if $(RECOMPUTE),--recompute)

unit: $(STAMP)  ## the tests of parts alone: two minutes on 2 cores
	$(PYTEST) tests/unit

test: $(STAMP)  ## the tests but the long ones, with those of make unit: nine minutes
	$(PYTEST) -m "not slow and not slurm and not ray and not cuda"

test-all: $(STAMP)  ## the long tests, which make test leaves out: experiments, kills, a browser, notebooks, packages; 25 minutes
	$(PYTEST) -m "slow and not slurm and not ray and not cuda"

check: $(STAMP)  ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(STAMP)  ## the documentation as pages in site/; a dead link is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict  # --quiet would hide the warnings, and --strict counts what is logged

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[all]'
	touch $@

clean:  ## remove the environment; results in runs/ stay
	rm -rf $(VENV) build *.egg-info
