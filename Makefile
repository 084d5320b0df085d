# Every command that works on bnkit. `make demo` and `make test` need nothing but Python 3.11+ and make.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.DEFAULT_GOAL := help
AXE_VERSION := 4.14.1
.PHONY: help install browser demo test test-slow check fix bench studies clean

help:  ## list the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "make %-10s %s\n", $$1, $$2}'

install: $(INSTALLED)  ## make .venv and install bnkit with everything it needs to run and to be tested

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "bnkit needs Python 3.11 or newer; give one with: make PYTHON=python3.11 $(MAKECMDGOALS)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[lab,dev]'
	@touch $@

# Never fails: without a browser its tests are skipped, and say so.
browser: install  ## get what the tests of the pages need (Chromium, axe-core), where that is allowed
	@command -v chromium chromium-browser google-chrome >/dev/null || timeout 300 apt-get install -y -qq chromium >/dev/null 2>&1 || timeout 300 $(BIN)/playwright install chromium >/dev/null 2>&1 || echo "no browser could be installed: tests of the pages in a browser are skipped"
	@test -f $(VENV)/axe/node_modules/axe-core/axe.min.js || timeout 120 npm install --silent --no-save --prefix $(VENV)/axe axe-core@$(AXE_VERSION) >/dev/null 2>&1 || echo "axe-core could not be installed: the accessibility audit is skipped"

demo: install  ## train with and without batch norm on real digits, and say whether it helped
	$(BIN)/bnkit study run digits

test: install  ## run the tests
	$(BIN)/python -m pytest

test-slow: install  ## run the tests that take longer than the suite's budget
	$(BIN)/python -m pytest -m slow

check: install  ## read only: style, types, lint
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

fix: install  ## write: format, apply what can be fixed by itself, and write docs/rules and docs/studies
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BIN)/python -m bnkit.rules.rule_pages docs/rules
	$(BIN)/python -m bnkit.lab.study_pages docs/studies

bench: install  ## measure all that benchmarks/ holds; results go to benchmarks/*/results
	$(BIN)/python benchmarks/startup/run.py --out benchmarks/startup/results
	$(BIN)/python benchmarks/layer_overhead/run.py --out benchmarks/layer_overhead/results
	$(BIN)/python benchmarks/demo/run.py --out benchmarks/demo/results
	$(BIN)/python benchmarks/cpu_kernels/run.py --out benchmarks/cpu_kernels/results
	$(BIN)/python benchmarks/training_step/run.py --out benchmarks/training_step/results
	$(BIN)/python benchmarks/training/run.py --out benchmarks/training/results
	$(BIN)/python benchmarks/peak_memory/run.py --out benchmarks/peak_memory/results
	$(BIN)/python benchmarks/streamed_outputs/run.py --out benchmarks/streamed_outputs/results
	$(BIN)/python benchmarks/check/run.py --out benchmarks/check/results
	$(BIN)/python benchmarks/fold/run.py --out benchmarks/fold/results
	$(BIN)/python benchmarks/recalibrate/run.py --out benchmarks/recalibrate/results
	$(BIN)/python benchmarks/report/run.py --out benchmarks/report/results

studies: install  ## run the quick profile of every study, time them, and write docs/studies anew
	$(BIN)/python benchmarks/studies/run.py --out benchmarks/studies/results --pages docs/studies

clean:  ## remove .venv and caches; results in runs/ are kept
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
