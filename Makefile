# Needs python3 (3.11 to 3.13) and make; everything else goes into .venv by itself.
PYTHON ?= python3
VENV ?= .venv
# nothing in pcam_kit is for Linux alone, so what passes on these passes there
PLATFORMS ?= Windows Darwin
BIN := $(VENV)/bin
# for test-lowest: a file of versions, and no linters, which need newer ones
CONSTRAINTS ?=
GROUP ?= dev
# what pyproject.toml calls optional: formats, trackers; a test of a missing one skips
EXTRAS ?= [all]
# --no-compile: Python compiles what is imported, a small part of what is installed
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --no-compile \
	$(addprefix --constraint ,$(CONSTRAINTS))
WORKERS ?= 2
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help demo test test-lowest quick faults fuzz check fmt lint types imports docs bench clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

demo: $(VENV)/.installed  ## the whole road on synthetic tissue, no account, about a minute
	$(BIN)/pcam demo

test: $(VENV)/.installed-dev  ## all tests, or some: make test ARGS='-k resume'
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal $(ARGS)

# and in a second one the oldest Keras that saved models must load in
test-lowest: .venv-keras/.installed  ## all tests on the lowest versions allowed, in .venv-lowest
	PCAM_OLDEST_KERAS=$(CURDIR)/.venv-keras/bin/python \
	  $(MAKE) test VENV=.venv-lowest CONSTRAINTS=tests/lowest.txt GROUP=test EXTRAS=

.venv-keras/.installed:
	$(PYTHON) -m venv .venv-keras
	.venv-keras/bin/python -m pip --disable-pip-version-check install --quiet keras==3.5.0 jax
	@touch $@

quick: PLATFORMS = Windows  # it lacks the most
quick: lint types imports  ## linters and the fast tests, under a minute; ARGS as for test
	$(BIN)/python -m pytest -n $(WORKERS) tests/unit tests/property tests/kaggle -m "not slow" $(ARGS)

faults: $(VENV)/.installed-dev  ## the whole fault table, about two minutes; writes docs/faults.md
	PCAM_FAULTS=full $(BIN)/python -m pytest tests/faults

fuzz: $(VENV)/.installed-dev  ## thousands of damaged and hostile files, about ten minutes
	PCAM_FUZZ=full $(BIN)/python -m pytest -n $(WORKERS) tests/fuzz -rP

check: lint types imports docs-check test  ## everything that must pass before a commit

fmt: $(VENV)/.installed-dev  ## format and fix
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: $(VENV)/.installed-dev  ## style
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(VENV)/.installed-dev  ## types, as Windows and macOS have them
	echo $(PLATFORMS) | xargs -n 1 -P $(WORKERS) \
	  $(BIN)/pyright --pythonpath $(BIN)/python --pythonplatform

imports: $(VENV)/.installed-dev  ## who may import whom
	$(BIN)/lint-imports --no-cache

docs: $(VENV)/.installed  ## write docs/api.md, docs/cli.md and docs/structure.md
	$(BIN)/python docs/generate.py

.PHONY: docs-check
docs-check: $(VENV)/.installed
	$(BIN)/python docs/generate.py --check

.PHONY: docs-site docs-serve
docs-site: $(VENV)/.installed-dev  ## the pages as a site, build/docs/site; a broken link fails
	$(BIN)/python docs/build_site.py

docs-serve: $(VENV)/.installed-dev  ## show the site on this machine, and what you change at once
	$(BIN)/python docs/build_site.py --serve

bench: $(VENV)/.installed  ## how fast training is here, beside PyTorch; writes docs/speed.md
	$(BIN)/python benchmarks/speed.py $(ARGS)

clean:  ## remove .venv and the like, caches, build/ and demo/; never data, runs or submissions
	rm -rf $(VENV) .venv-lowest .venv-keras .pytest_cache .ruff_cache .hypothesis build demo

$(VENV)/.python:
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 11) <= v <= (3, 13) else f"Python 3.11 to 3.13 is needed, {sys.executable} is {v[0]}.{v[1]}; try: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(PIP) --upgrade "pip>=25.1"
	@touch $@

$(VENV)/.installed: $(VENV)/.python pyproject.toml $(CONSTRAINTS)
	@echo "installing into $(VENV) (TensorFlow is large: a minute or two)"
	$(PIP) --editable .
	@touch $@

# all in one go: a second resolution would look at everything again
$(VENV)/.installed-dev: $(VENV)/.python pyproject.toml $(CONSTRAINTS)
	@echo "installing into $(VENV) (TensorFlow is large: two minutes)"
	$(PIP) --group $(GROUP) --editable ".$(EXTRAS)"
	@touch $(VENV)/.installed $@
