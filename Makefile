# The two commands of the README, and what developers run. Only Python >= 3.10 with pip is needed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
TESTED := $(VENV)/.installed-test

.PHONY: demo test lint clean

demo: $(INSTALLED)  ## the main job on real multilingual text
	$(BIN)/ragatouille-xm demo

test: $(TESTED)  ## everything that must hold
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto

$(BIN)/pip:
	$(PYTHON) -m venv $(VENV)

$(INSTALLED): $(BIN)/pip pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[demo]"
	touch $@

$(TESTED): $(INSTALLED)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[demo,test]"
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info
