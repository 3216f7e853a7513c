# `make demo` and `make test` need Python 3.11 or later and make, nothing else.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c deploy/constraints.txt

.PHONY: demo test quick explore check format coverage clean

demo: $(VENV)/.runtime
	$(BIN)/segnode demo

test: check
	$(BIN)/python -m pytest

quick: $(VENV)/.development
	$(BIN)/python -m pytest -m "not slow and not system"

explore: $(VENV)/.development
	HYPOTHESIS_PROFILE=exploring $(BIN)/python -m pytest tests/unit

check: $(VENV)/.development
	$(BIN)/ruff check node tests
	$(BIN)/ruff format --check node tests
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/interrogate --quiet node

format: $(VENV)/.development
	$(BIN)/ruff check --fix node tests
	$(BIN)/ruff format node tests

coverage: $(VENV)/.development
	$(BIN)/python -m pytest --cov --cov-report=term

$(VENV)/.python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Segnode needs Python 3.11 or later; say PYTHON=python3.11 or the like"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/.runtime: $(VENV)/.python pyproject.toml deploy/constraints.txt
	$(PIP_INSTALL) -e .
	touch $@

$(VENV)/.development: $(VENV)/.runtime
	$(PIP_INSTALL) -e '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) demo-output build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
