# The front door: `make` alone lists what there is. Everything happens in .venv; nothing else of the machine is changed,
# except that `make test` installs sipp and baresip where it may.

SHELL   := /bin/bash
PYTHON  ?= python3
FLAVOUR ?= release
CONFIG  ?= conf/viaduct.toml
ARGS    ?=
SOAK    ?= 20

VENV    := .venv
BIN     := $(VENV)/bin
SOURCES := $(wildcard sipcore/*.pyx sipcore/*.pxd workers/*.pyx workers/*.pxd benchmarks/*.pyx benchmarks/*.pxd)
BUILT   := build/built-$(FLAVOUR)
JOBS    := $(shell nproc)
PYTEST  := $(BIN)/python -m pytest

.DEFAULT_GOAL := help
.PHONY: help build demo run test unit soak lint debug asan annotate bench clean
.DELETE_ON_ERROR:

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "Variables: PYTHON=python3.12 (for a new .venv), CONFIG=FILE (run), ARGS='...' (test, unit, bench, demo)."

build: $(BUILT) ## make .venv and compile what changed

demo: $(BUILT) ## start the edge, place real calls through it, leave it running until Ctrl-C
	@$(BIN)/python -m benchmarks.demo $(ARGS)

run: $(BUILT) ## serve with conf/viaduct.toml
	@exec $(BIN)/python -m supervisor.arbiter -c $(CONFIG)

test: $(BUILT) ## run all tests; installs sipp and baresip if that is possible
	@packaging/test-tools.sh
	$(PYTEST) -q $(ARGS)

unit: $(BUILT) ## run the tests that start no edge
	$(PYTEST) -q tests/unit tests/property tests/vectors tests/meta $(ARGS)

soak: $(BUILT) ## the survival tests, their loads SOAK times as long (20: some 40 minutes)
	VIADUCT_SOAK=$(SOAK) $(PYTEST) -q -s tests/integration/test_survival_*.py $(ARGS)

lint: $(VENV)/installed ## check style and imports
	$(BIN)/ruff check .
	bash -n .ci/run packaging/*.sh

debug: ## serve with asserts, bounds checks and Python's development mode
	@$(MAKE) --no-print-directory build FLAVOUR=debug
	@exec env PYTHONDEVMODE=1 $(BIN)/python -m supervisor.arbiter -c $(CONFIG)

# CPython keeps memory until its end, so leaks are not looked for; libasan must be the first library of the process.
asan: ## run the tests that start no edge under the address and undefined-behaviour sanitizers
	@$(MAKE) --no-print-directory build FLAVOUR=asan
	LD_PRELOAD="$$(gcc -print-file-name=libasan.so) $$(gcc -print-file-name=libubsan.so)" ASAN_OPTIONS=detect_leaks=0 \
	  UBSAN_OPTIONS=print_stacktrace=1 PYTHONMALLOC=malloc $(PYTEST) -q -p no:cacheprovider tests/unit tests/property tests/vectors $(ARGS)

annotate: $(VENV)/installed ## write Cython's annotated HTML beside each .pyx: yellow lines meet Python
	$(BIN)/cython -3 --annotate $(wildcard sipcore/*.pyx workers/*.pyx)

bench: $(BUILT) ## run the benchmarks
	$(BIN)/python -m benchmarks $(ARGS)

clean: ## remove what building made, .venv included
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
	rm -f sipcore/*.c sipcore/*.so sipcore/*.html workers/*.c workers/*.so workers/*.html benchmarks/*.c benchmarks/*.so
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "$(PYTHON) is older than 3.10; try make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "$(PYTHON) cannot make environments; on Debian: apt-get install python3-venv"; exit 1; }

$(VENV)/installed: pyproject.toml packaging/requirements.py | $(BIN)/python
	@echo "installing what pyproject.toml names into $(VENV)"
	@$(BIN)/python -m pip install -q --disable-pip-version-check --upgrade 'pip>=23' wheel
	@$(BIN)/python packaging/requirements.py > $(VENV)/requirements.txt
	@$(BIN)/python -m pip install -q --disable-pip-version-check -r $(VENV)/requirements.txt
	@touch $@

# One flavour is built at a time, in place. Another flavour, or other flags in setup.py, compile everything again.
$(BUILT): $(SOURCES) setup.py $(VENV)/installed
	@echo "compiling ($(FLAVOUR))"
	@mkdir -p build
	@force=$$([ -e $@ ] && [ $@ -nt setup.py ] && [ $@ -nt $(VENV)/installed ] || echo --force); rm -f build/built-*; \
	  VIADUCT_FLAVOUR=$(FLAVOUR) $(BIN)/python setup.py -q build_ext --inplace --parallel $(JOBS) $$force > build/log 2>&1 \
	  || { cat build/log; exit 1; }
	@$(BIN)/python -m compileall -q sipcore workers supervisor
	@touch $@
