# Each target works on a fresh machine with Python 3.10 or newer, make and pip.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: install demo test check bench generated

install: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,media,llm,train,index,cuda]'
	touch $@

demo: install
	@$(BIN)/python benchmarks/demo.py

test: install
	$(BIN)/python -m pytest

check: install
	$(BIN)/ruff format --check src tests benchmarks && $(BIN)/ruff check src tests benchmarks && $(BIN)/mypy

bench: install
	$(BIN)/python benchmarks/run.py

generated: install
	$(BIN)/python -m mats_cli.generated .
