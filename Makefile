# make search   the main job: a search on the data at hand (drawn by the package if there is none)
# make test     lint, types, layers and all tests, with those of a GPU where there is one
# make fast     the tests that take seconds
# make gpu      the tests that need a GPU, one after the other
# make bench    every figure that this machine can measure, against its peer (about an hour)

PYTHON ?= python3
BIN := .venv/bin

.PHONY: search test fast gpu bench

search: .venv/installed
	$(BIN)/python -m search.run spaces/lr_sched.yaml

test: .venv/installed
	$(BIN)/ruff format --check --quiet .
	$(BIN)/ruff check --quiet .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder
	@if nvidia-smi -L 2>/dev/null | grep -q '^GPU '; then $(MAKE) gpu; fi

fast: .venv/installed
	$(BIN)/python -m pytest -m "not slow and not gpu" --numprocesses 2 --dist loadfile

gpu: .venv/installed
	$(BIN)/python -m pytest -m gpu

BENCHES := gather packs epoch augmented targets validation decoding saving startup threads compiling overhead plan \
	whole_search early_stopping gpu

bench: .venv/installed
	@set -e; for name in $(BENCHES); do echo "== $$name"; $(BIN)/python -m bench.$$name; done

.venv/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, but got " + sys.version.split()[0] + "; name one: make PYTHON=python3.12")'
	@echo "Installing into .venv (a few minutes, some 6 GB) ..."
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --quiet --constraint constraints.txt --editable '.[dev,docs,bench,onnx]'
	@touch $@
