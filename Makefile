# Everything a newcomer types. `make` alone lists it.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
UV_VERSION := 0.13.9
BIN := .venv/bin
STAMP := .venv/.installed
CATALOGUE ?=
TEST_WORKERS ?= 2
CHAOS_SECONDS ?= 600
CHAOS_SEED ?= 0

.PHONY: help setup demo test check bench chaos

help: ## List these commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-7s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(STAMP) ## Make .venv with everything in it, the doorbuster command too

demo: setup ## Open a shop, sell a drop of 1,000 units, prove it; CATALOGUE=path for your own products
	$(BIN)/doorbuster demo $(if $(CATALOGUE),--catalogue "$(CATALOGUE)")

test: setup ## Run the tests; those of whole shops at last and one by one, TEST_WORKERS processes share the others
	@$(BIN)/pytest --numprocesses=$(TEST_WORKERS) --dist=loadfile --ignore=tests/cluster; others=$$?; \
		$(BIN)/pytest tests/cluster && exit $$others

check: setup ## Format, lint, types, imports, tests: what CI runs
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	@$(MAKE) --no-print-directory test

bench: setup ## Measure Doorbuster against row locks, PostgreSQL and Redis Lua on this machine
	$(BIN)/python -m loadtests.bench

chaos: setup ## Kill and pause everything at random for ten minutes while people buy; CHAOS_SECONDS, CHAOS_SEED
	DOORBUSTER_CHAOS_SECONDS=$(CHAOS_SECONDS) DOORBUSTER_CHAOS_SEED=$(CHAOS_SEED) \
		$(BIN)/pytest -s tests/cluster/test_chaos.py

# The stamp is younger than what it was made from, so a second run does nothing.
$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed; name one with: make setup PYTHON=python3.12" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --disable-pip-version-check "uv==$(UV_VERSION)"
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation \
		--config-settings editable_mode=compat -e .
	@touch $@
