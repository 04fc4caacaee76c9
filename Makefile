# The two commands of the README, and what developers run. Only Python >= 3.11 with pip is needed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
TESTED := $(VENV)/.installed-test
DOCUMENTED := $(VENV)/.installed-docs
OLDEST := $(VENV)/oldest
# Errors only: no warnings about a newer pip, the user root or an index that lacks a package.
PIP := $(BIN)/python -m pip install --quiet --quiet --disable-pip-version-check
DEMO := --editable integrations/demo
MEMBERS := --editable integrations/langchain --editable integrations/llama-index

.PHONY: demo test docs notebooks packages clean

demo: $(INSTALLED)  ## the main job on real multilingual text
	@$(BIN)/ragatouille-xm demo

test: $(TESTED)  ## everything that must hold
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal
	OMP_NUM_THREADS=1 PYTHONPATH=$(OLDEST) $(BIN)/python -m pytest -n auto --dist worksteal integrations

docs: $(DOCUMENTED)  ## the documentation site, in build/site
	$(BIN)/python docs/build.py

packages:  ## wheels and sdists, in dist/, tried in an environment of their own
	.ci/packages

notebooks: $(TESTED)  ## run them, and keep what they print
	$(BIN)/python notebooks/execute.py

$(BIN)/pip:
	@echo "Making a virtual environment in $(VENV) …"
	@$(PYTHON) -m venv $(VENV)

$(INSTALLED): $(BIN)/pip pyproject.toml integrations/demo/pyproject.toml constraints.txt
	@echo "Installing ragatouille-xm and its demo checkpoint; PyTorch is the largest download …"
	@$(PIP) --constraint constraints.txt --editable ".[demo,server]" $(DEMO)
	@touch $@

$(TESTED): $(INSTALLED) integrations/*/pyproject.toml integrations/oldest.txt
	@echo "Installing the test tools …"
	@$(PIP) --constraint constraints.txt --editable ".[demo,test]" $(DEMO) $(MEMBERS)
	@rm -rf $(OLDEST)
	@$(PIP) --no-deps --target $(OLDEST) --requirement integrations/oldest.txt
	@touch $@

$(DOCUMENTED): $(INSTALLED)
	@echo "Installing what makes the documentation …"
	@$(PIP) --constraint constraints.txt --editable ".[docs]"
	@touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info
