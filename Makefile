# One command for each thing a person does. `make help` lists them.
PYTHON ?= python3.11
PIPENV_RELEASE := 2026.10.3

export PIPENV_VENV_IN_PROJECT := 1
export PIPENV_IGNORE_VIRTUALENVS := 1
export PIPENV_NOSPIN := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

# There is one .venv. Each command adds the categories of the lock that it needs and .venv lacks.
BIN := .venv/bin
VENV := $(BIN)/pip
INSTALL := @$(BIN)/python -m scripts.install
ATTEMPT := @$(BIN)/python -m scripts.attempt
BUILD := packages build compiler
TEST := packages build layer local dev-packages checks
DEVELOP := $(BUILD) $(TEST) verification benchmarks infrastructure examples

# `make run` and `make test` take this machine's C compiler, if it has one: the locked one is large.
LIBRARY := handler/ingest/libdecoder.so
COMPILED := .venv/.compiled
SOURCES := $(wildcard handler/ingest/*.c handler/ingest/*.h) layer_build/compile.py
FOUND_COMPILER := $(shell command -v cc 2>/dev/null)

# With the allocators' settings of the deployed function.
AS_IN_LAMBDA := env $$(PYTHONPATH=constructs $(BIN)/python -m processing.allocator)

PIPENV := .tools/bin/pipenv
RUNTIME := .tools/runtime/.ready
FUZZER := $(if $(filter Linux-x86_64,$(shell uname -s)-$(shell uname -m)),.tools/atheris/.ready)
BROWSER := $(if $(filter Linux-x86_64,$(shell uname -s)-$(shell uname -m)),.tools/browser/.ready)
TOOL_ENVIRONMENTS := $(patsubst %,.tools/%/.ready,ministack checkov cfn-lint cdktn cdktn-cli provider-5) $(FUZZER)
# cdktf's command line compiles a part of itself for the machine's own Node.
COMMAND_LINE = $(if $(shell command -v npm 2>/dev/null),$(NODE_MODULES))
# The stack's name, as main.py makes it. cdktf keeps TF_VAR_... from main.py, so the name goes there by another variable.
export PROCESSING_PROJECT_NAME ?= $(TF_VAR_project_name)
STACK = $(if $(PROCESSING_PROJECT_NAME),$(PROCESSING_PROJECT_NAME)-processing,processing)
# Provider locks name registries, and fail behind a mirror; the provider's version is in the stack.
NODE_MODULES := node_modules/.ready
BUILD_FOR_TERRAFORM = $(BIN)/python -m layer_build --arch $(or $(TF_VAR_architecture),x86_64) \
	--python $(patsubst python%,%,$(or $(TF_VAR_lambda_runtime),python3.11))

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help setup run examples build test verify faults e2e compat module synth synth-cdktn diff deploy catalogue cost bench check format lock clean
.PHONY: for-run for-examples for-build for-test for-development for-synth for-deploy for-e2e for-bench for-format

help:  ## List the commands
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

setup: for-development $(COMPILED)  ## Install what every command needs into .venv (each installs its own share by itself)

run: for-run $(LIBRARY)  ## Simulate a plant and compute its features; then look into local-lake/
	@$(AS_IN_LAMBDA) $(BIN)/python -m local $(ARGS)

examples: for-examples $(LIBRARY)  ## Simulate two weeks of machines that fail, and predict failures from their features
	@$(AS_IN_LAMBDA) $(BIN)/python -m local --machines 24 --hours 336 --failures 24 --interval 120
	@$(BIN)/python -m examples.predict_failures --lake file://$(CURDIR)/local-lake

build: for-build  ## Build the Lambda layer and the function's package into lambda_artifacts/ (ARGS="--arch arm64")
	@$(BIN)/python -m layer_build $(ARGS)

test: check $(LIBRARY)  ## Check the code, and run what tests it in minutes (ARGS="tests/unit/tiles" for some)
	HYPOTHESIS_PROFILE=quick $(BIN)/python -m pytest --numprocesses 2 -m "not verify" $(or $(ARGS),tests/unit tests/property handler layer_build)

verify: for-development check $(COMPILED) $(RUNTIME) $(TOOL_ENVIRONMENTS) $(BROWSER) $(COMMAND_LINE)  ## Run every test but those of make compat; 95 % of the handler's branches must be run
	$(BIN)/python -m pytest --cov --numprocesses 3 --no-loadscope-reorder --ignore tests/compat $(ARGS)

faults: for-development $(COMPILED) $(FUZZER)  ## Do to lakes all that can happen to them (two hours; docs/reliability.md)
	HYPOTHESIS_PROFILE=faults FAULTS=full $(AS_IN_LAMBDA) $(BIN)/python -m pytest tests/property/test_convergence.py tests/property/test_staged_lives.py tests/faults $(ARGS)

e2e: for-e2e $(COMPILED) .tools/ministack/.ready  ## Deploy with Terraform to an emulated AWS, and watch the schedule run the function
	$(BIN)/python -m pytest tests/infrastructure/test_whole_system.py -s $(ARGS)

compat: for-development $(COMPILED) .tools/compat/.ready  ## Read the files with Spark, pandas, Feast, Delta and Iceberg (1.5 GB to install)
	$(BIN)/python -m pytest tests/compat $(ARGS)

module: for-build  ## Write a release of the Terraform module into release/: module, zips, checksums, bill of materials
	@$(BIN)/python -m scripts.release $(ARGS)

synth: for-synth  ## Write the deployment's Terraform JSON into synth/ and modules/, for review (ARGS=--check)
	@$(BIN)/python scripts/synth.py $(ARGS)

synth-cdktn: .tools/cdktn/.ready  ## Synthesize with CDK Terrain, cdktf's successor, and compare
	@.tools/cdktn/bin/python scripts/synth_cdktn.py

diff: for-deploy $(NODE_MODULES)  ## Show what a deployment would change (needs Node and Terraform)
	@$(BUILD_FOR_TERRAFORM)
	@npx --no-install cdktf diff $(STACK) --skip-provider-lock $(ARGS)

deploy: for-deploy $(NODE_MODULES)  ## Deploy with the cdktf command line (needs Node and Terraform)
	@$(BUILD_FOR_TERRAFORM)
	@npx --no-install cdktf deploy $(STACK) --skip-provider-lock $(ARGS)

catalogue: for-run  ## Write the table of statistics in docs/features.md
	@$(BIN)/python scripts/catalogue.py

cost: $(VENV)  ## Work out what a deployment costs, into docs/deploy.md
	@$(BIN)/python scripts/cost.py

bench: for-bench $(COMPILED)  ## Measure the handler against other ways, into docs/performance.md (some 15 minutes; ARGS="--more-lines 0")
	$(AS_IN_LAMBDA) $(BIN)/python -m pytest tests/benchmarks --benchmark-enable --benchmark-columns=median,rounds --report docs/performance.md $(ARGS)

check: for-test  ## Lint, formatting, types, rules of imports, docstrings, English and spelling
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/clang-format --dry-run -Werror handler/ingest/*.c handler/ingest/*.h
	PYTHONPATH=constructs $(BIN)/lint-imports
	$(BIN)/pydoclint --quiet examples handler machine_features layer_build local scripts constructs main.py
	$(BIN)/python scripts/prose.py
	$(BIN)/codespell

format: for-format  ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i handler/ingest/*.c handler/ingest/*.h

lock: $(PIPENV)  ## Resolve the newest packages the Pipfile allows, and lock them by hash
	.tools/bin/python scripts/lock.py $(PIPENV) $(PIPENV_RELEASE)

clean:  ## Remove what the other commands made
	rm -rf .venv .tools $(LIBRARY) local-lake lambda_artifacts release cdktf.out node_modules .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .coverage

for-run: $(VENV)
	$(INSTALL) packages local
	$(if $(FOUND_COMPILER),,$(INSTALL) --optional compiler)

for-examples: $(VENV)
	$(INSTALL) packages local examples
	$(if $(FOUND_COMPILER),,$(INSTALL) --optional compiler)

for-build: $(VENV)
	$(INSTALL) $(BUILD)

for-test: $(VENV)
	$(INSTALL) $(TEST)

for-development: $(VENV)
	$(INSTALL) $(DEVELOP)

for-synth: $(VENV)
	$(INSTALL) packages infrastructure

for-deploy: $(VENV)
	$(INSTALL) $(BUILD) infrastructure

for-e2e: $(VENV)
	$(INSTALL) $(BUILD) dev-packages infrastructure

for-bench: $(VENV)
	$(INSTALL) $(BUILD) layer local dev-packages checks benchmarks

for-format: $(VENV)
	$(INSTALL) checks

$(VENV):
	@command -v $(PYTHON) >/dev/null || { echo "make: there is no $(PYTHON); install Python 3.11, or name it: make PYTHON=/path/to/python3.11" >&2; exit 2; }
	@$(PYTHON) -m venv .venv

# For a run, whatever compiler there is, or none. For all else, the locked one.
$(LIBRARY): $(SOURCES)
	@$(BIN)/python -m layer_build.compile || echo "make: the run goes on without the compiled decoder, slower"

$(COMPILED): $(SOURCES) Pipfile.lock
	@$(BIN)/python -m layer_build.compile
	@touch $@

$(PIPENV): scripts/pipenv.txt | $(VENV)
	$(BIN)/python -m venv .tools
	$(ATTEMPT) pipenv .tools/bin/pip install --quiet --require-hashes -r $<
	@touch $@

$(NODE_MODULES): package-lock.json
	$(ATTEMPT) "cdktf's command line" npm ci
	@touch $@

.tools/browser/.ready: scripts/browser.py scripts/browser/package-lock.json | for-development
	$(ATTEMPT) "the browser for tests of the report" $(BIN)/python -m scripts.browser $(@D)
	@touch $@

.tools/cdktn-cli/.ready: scripts/npm.py scripts/cdktn/package-lock.json | for-synth
	$(ATTEMPT) "cdktn's command line" $(BIN)/python -m scripts.npm scripts/cdktn $(@D)
	@touch $@

.tools/%/.ready: scripts/%.txt | $(VENV)
	$(BIN)/python -m venv $(@D)
	$(ATTEMPT) $* $(@D)/bin/pip install --quiet --require-hashes -r $<
	@touch $@

.tools/provider-5/.ready: scripts/provider-5.txt | $(VENV)
	$(ATTEMPT) "the bindings of provider 5" $(BIN)/pip install --quiet --require-hashes --no-deps --no-compile --target $(@D) -r $<
	@touch $@

$(RUNTIME): scripts/runtime.py scripts/runtime.txt scripts/emulator.txt | $(VENV)
	$(ATTEMPT) "AWS's runtime emulator" $(BIN)/python -m scripts.runtime
	@mkdir -p $(@D) && touch $@
