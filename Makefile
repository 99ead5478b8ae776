# One command for each thing a person does. `make help` lists them.
PYTHON ?= python3.11
PIPENV_RELEASE := 2026.10.3
CATEGORIES := packages layer dev-packages benchmarks infrastructure

export PIPENV_VENV_IN_PROJECT := 1
export PIPENV_IGNORE_VIRTUALENVS := 1
export PIPENV_NOSPIN := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

BIN := .venv/bin
PIPENV := .tools/bin/pipenv
INSTALLED := .venv/.ready
LIBRARY := handler/ingest/libdecoder.so
READY := $(INSTALLED) $(LIBRARY)
RUNTIME := .tools/runtime/.ready
TOOL_ENVIRONMENTS := .tools/ministack/.ready .tools/checkov/.ready

NODE_MODULES := node_modules/.ready
BUILD_FOR_TERRAFORM = $(BIN)/python -m layer_build --arch $(or $(TF_VAR_architecture),x86_64)

.DEFAULT_GOAL := help
.PHONY: help setup run build test e2e synth synth-cdktn diff deploy cost bench check format lock clean

help:  ## List the commands
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

setup: $(READY)  ## Install everything into .venv, compile the handler's C (the other commands do it by themselves)

run: $(READY)  ## Simulate a plant and compute its features; then look into local-lake/
	@$(BIN)/python -m local $(ARGS)

build: $(READY)  ## Build the Lambda layer and the function's package into lambda_artifacts/ (ARGS="--arch arm64")
	@$(BIN)/python -m layer_build $(ARGS)

test: check $(RUNTIME) $(TOOL_ENVIRONMENTS)  ## Check the code and run every test
	$(BIN)/python -m pytest $(ARGS)

e2e: $(READY) .tools/ministack/.ready  ## Deploy with Terraform to an emulated AWS, and watch the schedule run the function
	$(BIN)/python -m pytest tests/infrastructure/test_whole_system.py -s $(ARGS)

synth: $(READY)  ## Write the deployment's Terraform JSON into synth/ and modules/, for review (ARGS=--check)
	@$(BIN)/python scripts/synth.py $(ARGS)

synth-cdktn: .tools/cdktn/.ready  ## Synthesize with CDK Terrain, cdktf's successor, and compare
	@.tools/cdktn/bin/python scripts/synth_cdktn.py

diff: $(READY) $(NODE_MODULES)  ## Show what a deployment would change (needs Node and Terraform)
	@$(BUILD_FOR_TERRAFORM)
	@npx --no-install cdktf diff processing $(ARGS)

deploy: $(READY) $(NODE_MODULES)  ## Deploy with the cdktf command line (needs Node and Terraform)
	@$(BUILD_FOR_TERRAFORM)
	@npx --no-install cdktf deploy processing $(ARGS)

cost: $(READY)  ## Work out what a deployment costs, into docs/deploy.md
	@$(BIN)/python scripts/cost.py

bench: $(READY)  ## Measure the handler against other ways, into docs/performance.md (some 15 minutes; ARGS="--more-lines 0")
	$(BIN)/python -m pytest tests/benchmarks --benchmark-enable --benchmark-columns=median,rounds --report docs/performance.md $(ARGS)

check: $(READY)  ## Lint, formatting and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY)  ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: $(PIPENV)  ## Resolve the newest packages the Pipfile allows, and lock them by hash
	.tools/bin/python scripts/lock.py $(PIPENV) $(PIPENV_RELEASE)

clean:  ## Remove what the other commands made
	rm -rf .venv .tools $(LIBRARY) local-lake lambda_artifacts cdktf.out node_modules .hypothesis .mypy_cache .pytest_cache .ruff_cache

$(PIPENV): scripts/pipenv.txt
	@command -v $(PYTHON) >/dev/null || { echo "make: there is no $(PYTHON); install Python 3.11, or name it: make PYTHON=/path/to/python3.11" >&2; exit 2; }
	$(PYTHON) -m venv .tools
	.tools/bin/pip install --quiet --require-hashes -r $<
	@touch $@

$(INSTALLED): Pipfile.lock $(PIPENV)
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIPENV) sync --categories "$(CATEGORIES)"
	@touch $@

$(LIBRARY): $(wildcard handler/ingest/*.c handler/ingest/*.h) layer_build/compile.py $(INSTALLED)
	@$(BIN)/python -m layer_build.compile

$(NODE_MODULES): package-lock.json
	npm ci
	@touch $@

.tools/%/.ready: scripts/%.txt $(PIPENV)
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/pip install --quiet --require-hashes -r $<
	@touch $@

$(RUNTIME): scripts/runtime.py scripts/runtime.txt scripts/emulator.txt $(INSTALLED)
	@$(BIN)/python scripts/runtime.py
	@mkdir -p $(@D) && touch $@
