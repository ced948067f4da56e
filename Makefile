# make bench            set up, check, measure, and write the page, tables and plots under results/
# make test             set up and run the tests
# make test-deep        what takes minutes: the gate on small layers after public bug reports
# make test-page        the pages in a headless Chromium; screenshots go to PAGE_SHOTS=DIR
# make lint             formatting, lint and types
# make verify           the gate alone
# make aot              compile every Triton kernel for four GPUs without one, and write docs/kernels.md
# make audit            settle the beliefs about custom layers, and write docs/how-parameters-are-updated.md
# make docs             the reference pages, docs/reference, from --help and docstrings
# make mutate           mutate every hand-written gradient and see whether the gate notices (15 min)
# make fuzz             the loader of bundles against more than 10,000 random inputs, counted
# make report RUN=DIR   page, tables and plots of a run again, from its records
# make clean            remove what make made; results stay
#
# PROFILE=quick|default|full  DEVICE=cpu|cuda  ARGS="--layer affine …" pass through.
# PY=python3 uses that Python as it is, and makes no .venv.

VENV    := .venv
PYTHON  ?= $(shell command -v python3.11 || command -v python3)
PY      := $(VENV)/bin/python
PROFILE ?= default
DEVICE  ?=
ARGS    ?=

ifeq ($(PY),$(VENV)/bin/python)
SETUP     := $(VENV)/.ready
SETUP_DEV := $(VENV)/.ready-dev
endif

DEVICE_ARG := $(if $(DEVICE),--device $(DEVICE))

# a test process for each core, where pytest-xdist is installed; a file's tests stay together and share what is dear
WORKERS = $(shell $(PY) -c "import xdist" 2>/dev/null && echo "-n auto --dist loadfile --no-loadscope-reorder")

.PHONY: bench test test-deep test-page lint verify aot audit docs mutate fuzz report clean setup

bench: $(SETUP)
	$(PY) -m harness bench --profile $(PROFILE) $(DEVICE_ARG) $(ARGS)

verify: $(SETUP)
	$(PY) -m harness verify $(DEVICE_ARG) $(ARGS)

aot: $(SETUP)
	$(PY) -m harness aot $(or $(ARGS),--out docs/kernels.md)

audit: $(SETUP)
	$(PY) -m harness audit --page docs/how-parameters-are-updated.md

docs: $(SETUP_DEV)
	$(PY) -m tests.reference

mutate: $(SETUP_DEV)
	$(PY) -m tests.mutation $(ARGS)

fuzz: $(SETUP_DEV)
	FUZZ=8 $(PY) -m pytest -q -p no:xdist --timeout 3600 --hypothesis-show-statistics tests/publish/test_opening.py -k 'harm or within'

report: $(SETUP)
	@test -n "$(RUN)" || { echo "make report RUN=DIR: give the folder of a run" >&2; exit 2; }
	$(PY) -m harness report $(RUN)

test: $(SETUP_DEV)
	$(PY) -m pytest $(WORKERS) -m "not deep" $(ARGS)

test-deep: $(SETUP_DEV)
	$(PY) -m pytest $(WORKERS) -m deep $(ARGS)

test-page: $(SETUP_DEV)
	@command -v chromium >/dev/null || command -v google-chrome >/dev/null || { echo "make test-page needs chromium: apt-get install chromium" >&2; exit 2; }
	PAGE_SHOTS="$(PAGE_SHOTS)" $(PY) -m pytest tests/report/test_browser.py $(ARGS)

lint: $(SETUP_DEV)
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .
	$(PY) -m mypy

setup: $(SETUP)

$(VENV)/.ready: requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

$(VENV)/.ready-dev: $(VENV)/.ready requirements-dev.lock
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.lock
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
