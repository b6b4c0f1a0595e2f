# `make` lists the targets. `make demo` needs only Python 3.11 or newer; what else a target needs it sets up by itself.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

VENV := .venv
BIN := $(VENV)/bin
PYTEST := $(BIN)/python -m pytest
# Worker processes of the fast tests. Suites with real parts run one test after the other: they measure time and kill things.
WORKERS ?= auto

# Those of the given test folders that hold tests.
with_tests = $(foreach name,$(1),$(if $(shell find tests/$(name) -name 'test_*.py' -print -quit 2>/dev/null),tests/$(name)))

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# --- set-up -----------------------------------------------------------------------------------------------------------
# .venv is made in three steps, each with a stamp: the bare environment, what FlowMachine runs on, the contributors' tools.

# Recursive on purpose: Python is looked for only when .venv is made.
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && command -v "$$p" && break; done)

# uv, when it is there, is quicker. The result is the same: the lock files pin every version and hash.
ifneq ($(shell command -v uv),)
INSTALL := uv pip install --quiet --python $(BIN)/python
else
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-input
endif

BARE := $(VENV)/.bare
RUNTIME := $(VENV)/.runtime
DEV := $(VENV)/.dev

.PHONY: venv
venv: $(DEV) ## Make .venv with all that is needed to work on the project

# Made anew when its interpreter is gone, for example because the system got a newer Python.
$(BARE): $(shell test -x $(BIN)/python || echo no-interpreter)
	@python='$(PYTHON)'; \
	test -n "$$python" || { echo 'FlowMachine needs Python 3.11 or newer, and none is on PATH. Install one, or name one: make PYTHON=...' >&2; exit 1; }; \
	rm -rf $(VENV); \
	if "$$python" -c 'import ensurepip, venv' 2>/dev/null; then "$$python" -m venv $(VENV); \
	elif command -v uv >/dev/null; then uv venv --quiet --python "$$python" $(VENV); \
	else echo "$$python cannot make virtual environments. Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; fi
	@touch $@

.PHONY: no-interpreter
no-interpreter:

# The lock files are complete, so nothing is resolved (--no-deps): an older pip would take a release that is newer than its
# pin for a package that another one asks for with an extra, and then miss its hash.
$(RUNTIME): $(BARE) requirements/build.txt requirements/runtime.txt pyproject.toml
	@echo 'Installing what FlowMachine runs on into $(VENV)'
	@$(INSTALL) --no-deps --require-hashes -r requirements/build.txt -r requirements/runtime.txt
	@$(INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@

$(DEV): $(RUNTIME) requirements/dev.txt
	@echo "Installing the contributors' tools into $(VENV)"
	@$(INSTALL) --no-deps --require-hashes -r requirements/dev.txt
	@touch $@

LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--no-emit-find-links --custom-compile-command 'make lock' $(if $(UPGRADE),--upgrade)

.PHONY: lock
lock: $(DEV) ## Write requirements/*.txt anew from pyproject.toml (UPGRADE=1: with the newest versions)
	$(LOCK) --group build --output-file requirements/build.txt
	$(LOCK) pyproject.toml --output-file requirements/runtime.txt
	$(LOCK) pyproject.toml --all-extras --constraint requirements/runtime.txt --output-file requirements/image.txt
	$(LOCK) pyproject.toml --all-extras --group dev --constraint requirements/build.txt \
		--constraint requirements/image.txt --output-file requirements/dev.txt

.PHONY: cluster-up
cluster-up: $(DEV) ## Start a real Kubernetes control plane (needs Go and openssl; NODE=1: and a node, as root)
	@$(BIN)/python -m dev.cluster up $(if $(NODE),--node)

.PHONY: cluster-down
cluster-down: $(DEV) ## Stop that control plane
	@$(BIN)/python -m dev.cluster down

# For a released image name its base and the version of its Python: make images BASE=... FOR_PYTHON=3.13
.PHONY: images
images: $(DEV) ## Build the image from the Dockerfile, without Docker (needs root)
	@$(BIN)/python -m dev.images $(if $(BASE),--base $(BASE)) $(if $(FOR_PYTHON),--for-python $(FOR_PYTHON))

.PHONY: generate
generate: $(DEV) ## Write generated files anew (crds/, their copy in the chart, docs/reference.md)
	@$(BIN)/python -m dev.crds

.PHONY: clean
clean: ## Remove .venv, caches and build output, but not what was provisioned in the user's cache folder
	rm -rf $(VENV) build dist htmlcov .coverage .coverage.* .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -not -path './.git/*' -prune -exec rm -rf {} +

# --- see it run -------------------------------------------------------------------------------------------------------

.PHONY: demo
demo: $(RUNTIME) ## Run the example orders on the embedded log
	@$(BIN)/flowmachine demo

.PHONY: demo-kill
demo-kill: $(RUNTIME) ## The same, with the engine killed in the middle
	@$(BIN)/flowmachine demo --kill

.PHONY: kafka-up
kafka-up: $(DEV) ## Start a real Kafka broker (needs Java and Maven)
	@$(BIN)/python -m dev.kafka up

.PHONY: kafka-down
kafka-down: $(DEV) ## Stop that broker
	@$(BIN)/python -m dev.kafka down

# --- judge ------------------------------------------------------------------------------------------------------------

.PHONY: check
check: check-format check-lint check-types check-layers check-tidy ## Format, lint, types, layers, tidiness; changes nothing

.PHONY: check-format
check-format: $(DEV)
	$(BIN)/ruff format --check --quiet --diff .

.PHONY: check-lint
check-lint: $(DEV)
	$(BIN)/ruff check --quiet --output-format concise .

.PHONY: check-types
check-types: $(DEV)
	$(BIN)/mypy
	$(BIN)/basedpyright

.PHONY: check-layers
check-layers: $(DEV)
	$(BIN)/lint-imports --no-cache --no-logo

.PHONY: check-tidy
check-tidy: $(DEV)
	$(PYTEST) -q tests/unit/test_tidy.py

.PHONY: format
format: $(DEV) ## Format the code and apply the lint fixes that are safe
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

.PHONY: test
test: test-fast test-real e2e ## All tests, real parts included: they are provisioned and cached at first use

.PHONY: test-fast
test-fast: $(DEV) ## Tests that need nothing but Python: unit, property, model, simulation, compat
	$(PYTEST) -n $(WORKERS) $(call with_tests,unit property model simulation compat)

# `make simulate SEEDS=100000` looks further than the tests do; `make simulate SEED=17` shows what happens in one.
.PHONY: simulate
simulate: $(DEV) ## Run the engine through many simulated disasters (SEEDS=, FIRST=), or one of them (SEED=)
	@PYTHONPATH=engine:. $(BIN)/python -m tests.simulation $(if $(SEED),--seed $(SEED),--seeds $(or $(SEEDS),2000) --first $(or $(FIRST),0))

.PHONY: test-real
test-real: $(DEV) ## Tests against real parts: contract, conformance, integration, faults
	@$(BIN)/python -m dev.kafka provision || echo 'Suites that need Kafka will be skipped.'
	@folders='$(strip $(call with_tests,contract conformance integration faults))'; \
	if [ -n "$$folders" ]; then $(PYTEST) $$folders; else echo 'There are no tests against real parts yet.'; fi

.PHONY: soak
soak: $(DEV) ## A million sagas while engines and brokers die in turn, then the audit (SAGAS=, SEED=)
	@$(BIN)/python -m dev.kafka provision
	@PYTHONPATH=engine:. $(BIN)/python -m tests.faults.soak --sagas $(or $(SAGAS),1000000) --seed $(or $(SEED),0)

.PHONY: e2e
e2e: $(DEV) ## The chart on a real node, from the image of the Dockerfile (needs root and Go, or KUBECONFIG=...)
	$(PYTEST) tests/e2e

.PHONY: bench
bench: $(DEV) ## Measure throughput and latency
	@$(BIN)/python -m bench
