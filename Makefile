# Two commands do everything: `make run` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DATA ?= data
RUN_FLAGS ?=

.PHONY: install run test test-long testbed-up testbed-down check bench lock clean
.DEFAULT_GOAL := install

install: $(BIN)/imagerepo

$(BIN)/imagerepo: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("imagerepo needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Set PYTHON=/path/to/python3.11" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $(BIN)/imagerepo

run: install
	$(BIN)/imagerepo serve --data $(DATA) $(if $(SAMPLES),--samples,) $(RUN_FLAGS)

test: install
	tests/setup
	$(BIN)/python -m pytest -m 'not long'

test-long: install
	tests/setup
	$(BIN)/python -m pytest -m long

testbed-up: install
	tests/setup
	$(BIN)/python -m tests.testbed up

testbed-down: install
	$(BIN)/python -m tests.testbed down

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/pyright

bench: install
	bench/setup
	tests/setup
	$(BIN)/python -m bench
	$(BIN)/python -m bench cluster

lock: pyproject.toml
	$(BIN)/pip-compile --quiet --generate-hashes --allow-unsafe --strip-extras --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --no-header --extra dev --output-file requirements.lock pyproject.toml

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis
