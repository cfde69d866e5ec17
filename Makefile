# Everything runs in .venv, which the first command makes. `make PYTHON=python3.12 test` chooses the interpreter.
PYTHON ?= python3
BIN := .venv/bin
CONSTRAINTS ?= constraints.txt
PIP_INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check --constraint $(CONSTRAINTS)

.PHONY: demo test test-slow test-floor lint docs bench install clean

install: .venv/installed
demo: .venv/installed
	$(BIN)/python examples/demo.py

test: lint
	$(BIN)/python -m pytest

test-slow: .venv/installed-test
	$(BIN)/python -m pytest -m slow

lint: .venv/installed-test
	$(BIN)/ruff check src tests examples benchmarks
	$(BIN)/ruff format --check src tests examples benchmarks
	$(BIN)/mypy

# The oldest supported versions, in an environment of their own.
test-floor:
	$(PYTHON) -m venv .venv-floor
	.venv-floor/bin/pip install --quiet --disable-pip-version-check --constraint constraints-floor.txt --editable ".[test,recordings]"
	.venv-floor/bin/python -m pytest

docs: .venv/installed-docs
	$(BIN)/sphinx-build -W --keep-going -b html docs docs/_build/html

bench: .venv/installed
	for script in benchmarks/*.py; do $(BIN)/python $$script || exit 1; done

clean:
	rm -rf .venv .venv-floor build dist demo_output docs/_build

.venv/bin/python:
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version) if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv .venv

# torch first and pinned: a range would make pip choose the newest build there is.
.venv/installed: setup.cfg $(CONSTRAINTS) | .venv/bin/python
	$(PIP_INSTALL) --upgrade pip setuptools
	$(PIP_INSTALL) "$$(grep '^torch==' $(CONSTRAINTS))"
	$(PIP_INSTALL) --editable .
	touch $@

.venv/installed-test: .venv/installed
	$(PIP_INSTALL) --editable ".[test,tensorboard,recordings,export]"
	touch $@

.venv/installed-docs: .venv/installed
	$(PIP_INSTALL) --editable ".[docs]"
	touch $@
