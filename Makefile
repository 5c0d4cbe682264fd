# make demo   a venv, the package, scripted clips, and the whole path to a trained tiny adapter
# make test   a venv, what the tests need, the tests
# make check  format, lint, types, import contracts, tests: what CI runs
# make bench  ratios against the limit, printed as a table
# make mutants  thousands of damaged media files through inspection
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
TERMINAL := tests/agent/ui/tui/test_terminal.py

.PHONY: demo test check bench mutants clean

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check --quiet -c constraints.txt -e .
	touch $@

$(VENV)/.tested: $(VENV)/.installed
	$(BIN)/python -m pip install --disable-pip-version-check --quiet -c constraints.txt -e '.[test,dev]'
	touch $@

demo: $(VENV)/.installed
	$(BIN)/python examples/demo.py

test: $(VENV)/.tested
	$(BIN)/python -m pytest $(TERMINAL)  # its keys wait for a screen, so it has the machine to itself
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadscope --ignore=$(TERMINAL)

check: $(VENV)/.tested
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(MAKE) --no-print-directory test

bench: $(VENV)/.tested
	$(BIN)/python -m pytest -m bench -s tests/benchmarks

mutants: $(VENV)/.tested
	$(BIN)/python -m pytest -m soak -s tests/tools/inspect/test_bad_input.py

clean:
	rm -rf $(VENV) demo-out build *.egg-info
