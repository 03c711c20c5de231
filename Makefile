# make run: install into .venv and train cnn1d on fold 0 of the simulated data set.
# make test: install and pass the checks and the tests, but for the slow ones.
# make test-slow: the slow ones.
# make test-lowest: some of them with the lowest versions of all dependencies.
# make docs: write the documentation to site/.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: run test test-slow test-lowest docs lint clean

run: .venv/.installed
	$(BIN)/python -m ecgcls.run model=cnn1d fold=0 data=synthetic

test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow"

test-slow: .venv/.installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist load -m slow

docs: .venv/.installed-dev
	$(BIN)/mkdocs build

# Once before a release: the lowest versions that pyproject.toml promises. An old torch brings gigabytes of CUDA.
test-lowest:
	$(PYTHON) -m venv .venv-lowest
	.venv-lowest/bin/python -m pip install --quiet --constraint constraints-lowest.txt --editable . pytest
	OMP_NUM_THREADS=2 .venv-lowest/bin/python -m pytest tests/evaluation tests/runs tests/jobs tests/training -m "not slow"

lint: .venv/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy

.venv/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed, $(PYTHON) is older: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	@touch $@

.venv/.installed-dev: .venv/.installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

clean:
	rm -rf .venv .venv-lowest dist site .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
