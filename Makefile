# Each target sets up what it needs in .venv; nothing outside this folder is touched.
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; exit; }; done; echo python3)
BIN := .venv/bin
RUN := $(BIN)/python -m

.DEFAULT_GOAL := help
.PHONY: help demo test lint slow bench docs papers pico wheel clean

help:  ## this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "make %-8s %s\n", $$1, $$2}'

# torch first and by itself: a CPU build at hand satisfies the pin, and the rest then resolves around it.
.venv/ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "seefar needs Python 3.11 or newer; try: make PYTHON=python3.12" >&2; exit 1; }
	@echo "setting up .venv (minutes the first time)"
	@test -x $(BIN)/pip || $(PYTHON) -m venv .venv
	@echo "installing torch"
	@$(RUN) pip install --quiet -c constraints.txt torch
	@echo "installing seefar and what it needs"
	@$(RUN) pip install --quiet -c constraints.txt -e '.[dev]'
	@touch $@

demo: .venv/ready  ## render an hour of film and a lecture, ask about them, leave pictures in demo/ (minutes)
	$(BIN)/seefar demo

# Two workers with a thread each: with more they would wait for each other's threads most of the time.
test: .venv/ready  ## the fast tests
	OMP_NUM_THREADS=1 $(RUN) pytest -q -n 2 --dist loadfile

lint: .venv/ready  ## style, types and floors
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) mypy
	$(RUN) pytest -q tests/test_layout.py

slow: .venv/ready  ## the tests that take longer
	$(RUN) pytest -q -m 'slow and not gpu'

bench: .venv/ready  ## every bench; writes results/, then the tables of README.md
	$(BIN)/seefar bench ops
	$(BIN)/seefar bench ingest
	$(BIN)/seefar bench needle
	$(BIN)/seefar bench ask
	$(BIN)/seefar bench read
	$(BIN)/seefar bench layers
	$(BIN)/seefar bench forms
	$(BIN)/seefar bench convs
	$(BIN)/seefar bench decode
	$(BIN)/seefar bench mixers
	$(MAKE) docs

docs: .venv/ready papers  ## write the figures of results/ into README.md and docs/
	$(RUN) seefar.evals.readme README.md docs/which-mixer.md

papers: .venv/ready  ## the table and pages of all papers, from cards, imports and results/
	$(RUN) seefar.papers._pages

pico: .venv/ready  ## train the offline model again
	$(RUN) seefar.training.pico

wheel: .venv/ready  ## build dist/*.whl
	$(RUN) pip wheel --quiet --no-deps --wheel-dir dist .

clean:  ## remove .venv and what was built
	rm -rf .venv dist build demo .pytest_cache .mypy_cache .ruff_cache .hypothesis
