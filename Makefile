# Needs Python >= 3.11, make and git; everything else goes into .venv.
.DEFAULT_GOAL := help
SHELL := /bin/sh
BIN := .venv/bin
NAME ?= trader
PORT ?=
DATA ?=
FRESH ?=
PYTHON ?=
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-input -c constraints.txt
CODE := src tests scripts $(wildcard benchmarks notebooks dashboards)
NOTEBOOKS := $(wildcard notebooks/*.ipynb dashboards/*.ipynb)

.PHONY: help dashboard lab check test soak lint types format clean

help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

dashboard: .venv/run.stamp  ## Host a paper engine and serve its dashboard [NAME=research] [DATA="files..."] [PORT=8866] [FRESH=1]
	@exec $(BIN)/stratnb dashboard --notebook dashboards/$(NAME).ipynb $(if $(filter research,$(NAME)),--no-engine) $(if $(PORT),--port $(PORT)) $(if $(FRESH),--fresh) -- $(DATA)

lab: .venv/run.stamp  ## Open JupyterLab on notebooks/ [PORT=8888]
	@exec $(BIN)/stratnb lab $(if $(PORT),--port $(PORT)) notebooks

check: lint types  ## Lint, types, unit tests and laws at few examples
	$(BIN)/python -m pytest -q -m "not browser and not slow" --hypothesis-profile=check

test: lint types  ## Everything: lint, types, tests, notebooks, browser
	$(BIN)/python -m pytest -m "not browser" --durations=5
	$(if $(NOTEBOOKS),$(BIN)/python -m pytest --nbval-lax $(NOTEBOOKS))
	$(BIN)/python -m pytest -m browser --reruns 2 tests/browser

soak: .venv/dev.stamp  ## Kill engines 1,000 times and print kills, rate and faults [KILLS=1000] [SEED=1]
	$(BIN)/python scripts/soak.py --kills $(or $(KILLS),1000) --seed $(or $(SEED),1)

lint: .venv/dev.stamp
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/ruff check $(CODE)
	$(BIN)/lint-imports
	$(BIN)/python scripts/size_gate.py src/stratnb

types: .venv/dev.stamp
	$(BIN)/mypy --strict src

format: .venv/dev.stamp  ## Format the code and fix what can be fixed
	$(BIN)/ruff format $(CODE)
	$(BIN)/ruff check --fix $(CODE)

clean:  ## Remove .venv and every cache of the tools
	rm -rf .venv build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/bin/python:
	@found=; for python in $(PYTHON) python3.13 python3.12 python3.11 python3; do \
		if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then found=$$python; break; fi; \
	done; \
	if [ -z "$$found" ]; then echo "Python 3.11 or newer is needed and was not found; install it or give PYTHON=path" >&2; exit 1; fi; \
	echo "Making .venv with $$($$found --version)"; \
	"$$found" -m venv .venv || { rm -rf .venv; echo "$$found cannot make a virtual environment; Debian and Ubuntu need the package python3-venv" >&2; exit 1; }

.venv/run.stamp: pyproject.toml constraints.txt | .venv/bin/python
	@echo "Installing stratnb (some minutes the first time)"
	@$(PIP) -e .
	@touch $@

.venv/dev.stamp: pyproject.toml constraints.txt | .venv/bin/python
	@echo "Installing stratnb with its tools (some minutes the first time)"
	@$(PIP) -e '.[dev]'
	@touch .venv/run.stamp $@
