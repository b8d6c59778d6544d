# `make quickstart` and `make test` are all a newcomer needs; each installs what it needs into .venv, once.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed

.PHONY: quickstart test test-fast test-all test-slurm axe lint check published clean

$(STAMP): setup.cfg pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' || { echo "PYTHON: expected Python 3.11 to 3.14, got $$($(PYTHON) --version 2>&1); name one: make PYTHON=python3.14 $(MAKECMDGOALS)" >&2; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[test,lint]'
	@touch $(STAMP)

quickstart: $(STAMP)
	$(BIN)/rbe quickstart

# Two processes on two cores, so one thread in each.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadscope

test: $(STAMP)
	$(PYTEST) -m 'not campaign'

# For the inner loop: what is marked slow is left out.
test-fast: $(STAMP)
	$(PYTEST) -m 'not campaign and not slow'

# Every optional extra, all mutations; the browser tests need a Chromium.
test-all: $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[test-all]'
	$(PYTEST)

# Jobs of a Slurm that is started on this machine are killed; needs root and Debian's slurm-wlm and munge.
test-slurm: $(STAMP)
	$(BIN)/python -m pytest tests/integration -m campaign

# The checks of the pages' accessibility, which `make test` runs if they are there; needs npm.
axe:
	npm install --no-save --no-package-lock --silent axe-core@4

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The quickstart's numbers against ten pinned training seeds; the published weights, attacked again, against their own.
check: published
	$(BIN)/rbe check reports/regression/digits-quickstart.json

published: $(STAMP)
	rm -rf runs/published
	for pin in reports/regression/*-weights.json; do \
		$(BIN)/rbe check $$pin --attack --skip-missing-data --runs runs/published || exit; done

clean:
	rm -rf $(VENV) build dist *.egg-info runs
