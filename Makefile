# Everything runs in .venv, which the first target that needs it creates from pinned versions.
PYTHON ?= $(shell scripts/find_python.sh)
BIN := .venv/bin
# More workers than this only wait for each other's memory.
WORKERS ?= 2
# Tests run in several processes; a thread pool in each would only get in the way.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest

.PHONY: help venv demo test test-quick test-oldest lint format check lock changelog clean

help:
	@echo "make demo    convert a real model to Core ML and run it here, beside Core ML files from elsewhere"
	@echo "make test    run every test"
	@echo "make test-quick    every test but the slow ones"
	@echo "make lint    style, types and import directions"
	@echo "make check   lint and test"
	@echo "make format  mend what can be mended by itself"
	@echo "make lock    renew the pinned versions"
	@echo "make clean   remove everything that make made"

venv: .venv/.dependencies .venv/.installed

# Most of the modules that come are never imported; those that are get compiled then, once for all processes. Not so
# coremltools': Python warns of escapes in its texts when it compiles them, and tests take warnings for errors.
INSTALL := $(BIN)/python -m pip install --no-compile --constraint requirements/constraints.txt
unexport PYTHONDONTWRITEBYTECODE

# What builds the native core comes first: `make -j venv` builds while the rest comes.
.venv/.tools: requirements/constraints.txt pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(INSTALL) --quiet --upgrade pip
	$(INSTALL) --quiet --group build
	touch $@

.venv/.dependencies: .venv/.tools
	$(INSTALL) --group dev
	$(BIN)/python -W ignore -m compileall -q -j 2 .venv/lib/python*/site-packages/coremltools
	touch $@

# The package itself, editable. Again when the schema or the native core changes, or a package appears that the last
# install did not see.
BUILD_INPUTS := CMakeLists.txt native/CMakeLists.txt src/gristmill/_version.py $(wildcard src/gristmill/package/schema/*.proto) \
	$(shell find native -path native/tests -prune -o \( -name '*.cc' -o -name '*.h' \) -print) \
	$(wildcard src/gristmill/__init__.py src/gristmill/*/__init__.py src/gristmill/*/*/__init__.py)

.venv/.installed: .venv/.tools $(BUILD_INPUTS)
	$(INSTALL) --quiet --no-deps --no-build-isolation --editable .
	touch $@

demo: venv
	$(BIN)/python -m examples.demo

test: venv
	$(PYTEST) -n $(WORKERS) --dist worksteal
	scripts/test_oldest.sh

# Without the tests marked slow.
test-quick: venv
	$(PYTEST) -n $(WORKERS) --dist worksteal -m "not slow"

test-oldest: venv
	scripts/test_oldest.sh

lint: venv
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: venv
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

check: lint test

lock:
	scripts/lock.sh

clean:
	rm -rf .venv .venv-oldest .cache build dist src/gristmill/package/schema/schema.binpb
	rm -rf .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
