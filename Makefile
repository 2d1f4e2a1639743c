# Every target makes what it needs: Python >= 3.11 and make are enough.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: install demo up migrate quick test chaos check fmt lock clean

install: $(VENV)/installed

$(VENV)/installed: requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "npas needs Python >= 3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'uv>=0.7'
	@echo 'Installing into $(VENV): about 6 GB, most of it PyTorch; without a word until it is done'
	$(BIN)/uv pip sync --quiet --compile-bytecode --require-hashes requirements.lock --python $(BIN)/python
	$(BIN)/uv pip install --quiet --no-deps --editable . --python $(BIN)/python
	touch $@

demo: install
	$(BIN)/python -m npas_client.demo

up: install
	$(BIN)/python -m npas_local.serve

migrate: install
	$(BIN)/python -m npas_store.migrate

# Before each commit: what needs neither servers nor training nor more than a second a test.
quick: install
	$(BIN)/ruff format --check --quiet .
	$(BIN)/ruff check --quiet .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	NPAS_TEST_EFFORT=0.05 $(BIN)/python -m pytest -q -n auto --maxprocesses 4 --dist loadfile -m 'not servers and not training and not slow'

# The tests of one file stay in one process: they may share servers. Many of them wait, so one
# process more than there are processors keeps those busy. NPAS_TEST_EFFORT=1 tries all examples.
test: check
	NPAS_TEST_EFFORT=$${NPAS_TEST_EFFORT:-0.5} PYTEST_XDIST_AUTO_NUM_WORKERS=$$(( $$(nproc) + 1 )) $(BIN)/python -m pytest -n auto \
		--maxprocesses 4 --dist loadfile --no-loadscope-reorder

# Hundreds of faults over the whole service, seeded; prints a table. As root, disks fail as well.
chaos: install
	$(BIN)/python -m benchmarks.chaos

check: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q tests/house

fmt: install
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lock: install
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --all-extras \
		--python-version 3.11 --group dev pyproject.toml -o requirements.lock

clean:
	rm -rf $(VENV) demo
