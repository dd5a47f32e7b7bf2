# Every target but help and clean first makes the environment in .venv (once; again when pyproject.toml or
# constraints.txt change).  Variables are passed on only when set:  make search BOARD=zcu102 TIME=20m DATA=fashion-mnist
#
# PYTHON       interpreter that makes the environment (3.10 or later)
# TORCH_INDEX  package index to take torch from, for a GPU build, or for a CPU build that your default index lacks;
#              only a first set-up looks at it (remove .venv to change the build)

SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help setup search resume report compile csim synth test check bench wheel clean

PYTHON ?= python3
TORCH_INDEX ?=
PIP := .venv/bin/python -m pip --disable-pip-version-check --quiet install --progress-bar off -c constraints.txt
FLOW := .venv/bin/flow
PYTEST := .venv/bin/python -m pytest -n 2 --dist worksteal

# $(call option,VARIABLE,name): --name 'value' where the variable is set, nothing otherwise
option = $(if $($(1)),--$(2) '$(subst ','\'',$($(1)))')
# $(call place,VARIABLE): the value as one word, nothing where it is not set
place = $(if $($(1)),'$(subst ','\'',$($(1)))')

help: ## this list
	@grep -E '^[a-z]+:.*## ' $(firstword $(MAKEFILE_LIST)) | sed -E 's/^([a-z]+):.*## /\1\t/' | expand -t 10
	@echo "Variables: BOARD DATA DATA_DIR SPACE STRATEGY TRIALS TIME SEED RUN MODEL OUT BENCH PYTHON TORCH_INDEX"

setup: .venv/.stamp ## make the environment in .venv

.venv/.stamp: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "$(PYTHON) is older than Python 3.10; give another: make PYTHON=python3.12" >&2; exit 1; }
	@echo "set-up 1/3: environment in .venv"
	@test -x .venv/bin/pip || $(PYTHON) -m venv .venv
	@echo "set-up 2/3: torch (the largest part; once)"
	@$(PIP) $(if $(TORCH_INDEX),--index-url '$(TORCH_INDEX)') torch
	@echo "set-up 3/3: everything else"
	@$(PIP) -e '.[dev]'
	@touch $@
	@echo "set-up done"

search: setup ## search networks and accelerators: BOARD [DATA DATA_DIR SPACE STRATEGY TRIALS TIME SEED RUN]
	$(FLOW) search $(call option,BOARD,board) $(call option,DATA,data) $(call option,DATA_DIR,data-dir) $(call option,SPACE,space) $(call option,STRATEGY,strategy) $(call option,TRIALS,trials) $(call option,TIME,time) $(call option,SEED,seed) $(call option,RUN,run)

resume: setup ## go on with an interrupted search: RUN
	$(FLOW) resume $(call place,RUN)

report: setup ## write a run's report again: RUN
	$(FLOW) report $(call place,RUN)

compile: setup ## compile your own network: MODEL BOARD OUT
	$(FLOW) compile $(call place,MODEL) $(call option,BOARD,board) $(call option,OUT,out)

csim: setup ## run a compiled project's C simulation against onnxruntime: OUT
	$(FLOW) csim $(call place,OUT)

synth: setup ## synthesise a compiled project where a vendor's tool is installed: OUT
	$(FLOW) synth $(call place,OUT)

test: setup ## all tests, the quick ones first
	$(PYTEST) -m "not slow"
	$(PYTEST) -m slow

check: setup ## linter, formatting, types, tests
	.venv/bin/ruff check flow tests benchmarks
	.venv/bin/ruff format --check flow tests benchmarks
	.venv/bin/mypy
	$(PYTEST)

bench: setup ## a benchmark of the README: BENCH
	$(FLOW) bench $(call place,BENCH)

wheel: setup ## build the wheel into dist/
	rm -rf build
	.venv/bin/python -m build --wheel --no-isolation --outdir dist
	rm -rf build

clean: ## remove what was built and cached; keeps .venv and runs
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find flow templates hls boards tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
