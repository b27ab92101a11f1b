# Two commands are all that a fresh machine needs: `make run` and `make test`. Each sets up what it lacks, once.
# Settings:  ARGS="--for 60s"  options for `make run` and `make test`;  INPUT=FILE  what `make run` forecasts;  PYTHON=/path/to/python3.12;  VENV=.venv;
#            WORKERS=4  processes of `make test`

SHELL := /bin/bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install system run test test-all check chaos fuzz fuzz-coverage soak late bench figures accuracy pretrain docs site lock clean

VENV ?= .venv
BIN := $(VENV)/bin
ARGS ?=
INPUT ?=
# More than a small machine has cores: half of the tests wait, for brokers and for programs that they start.
WORKERS ?= 4
ROUNDS ?= 200
KILLS ?= 1000
WINDOW_KILLS ?= 200
IDLE_KILLS ?= 200
ALERT_KILLS ?= 200
REMOTE_WRITE_KILLS ?= 200
SHAPE_KILLS ?= 100
SQLITE_KILLS ?= 200
DELIVERY_PHASES ?= 8
PARQUET_KILLS ?= 200
POSTGRES_KILLS ?= 200
CHAOS_SECONDS ?= inf
DELAYS ?= 200
SOAK_MINUTES ?= 60
FUZZ_EXAMPLES ?= 20000
FUZZ_SECONDS ?= 60
# Quiet about pip's own releases; everything else pip says is kept.
PIP := PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/python -m pip
# Hundreds of tests start the program: without files of bytecode each start would compile its modules anew.
unexport PYTHONDONTWRITEBYTECODE
# Tried in this order; the first that runs, is new enough and can make virtual environments is taken.
PYTHONS := $(PYTHON) python3 python3.13 python3.12 python3.11 python3.14 python

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: $(VENV)/.run-installed ## live forecasts of a generated city and of this machine, or of a file (INPUT=FILE; ARGS="--for 60s" passes options on)
	@$(BIN)/forecaster $(if $(INPUT),run --input '$(INPUT)',demo) $(ARGS)

test: $(VENV)/.test-installed ## all tests (ARGS="-m 'not slow'" passes options on)
	$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

test-all: $(VENV)/.test-installed ## and those that take long and say little more
	$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder -m "" $(ARGS)

check: $(VENV)/.test-installed ## lint, format, types, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

chaos: $(VENV)/.test-installed ## everything that can break, many times, against real brokers; prints a table (KILLS=1000)
	CHAOS_ROUNDS=$(ROUNDS) CHAOS_KILLS=$(KILLS) CHAOS_SECONDS=$(CHAOS_SECONDS) CHAOS_DELAYS=$(DELAYS) CHAOS_PARQUET_KILLS=$(PARQUET_KILLS) \
	$(BIN)/python -m pytest tests/broker/chaos --timeout 7200 $(ARGS)
	CHAOS_WINDOW_KILLS=$(WINDOW_KILLS) CHAOS_SQLITE_KILLS=$(SQLITE_KILLS) $(BIN)/python -m pytest tests/e2e/test_kill.py tests/broker/test_raw_events.py -k "open_windows or random_moments"
	CHAOS_POSTGRES_KILLS=$(POSTGRES_KILLS) CHAOS_POSTGRES_DOWN=60 $(BIN)/python -m pytest tests/postgres/test_postgres_kill.py
	CHAOS_SHAPE_KILLS=$(SHAPE_KILLS) $(BIN)/python -m pytest tests/e2e/test_shape_kill.py -m ""
	CHAOS_ALERT_KILLS=$(ALERT_KILLS) CHAOS_ALERT_DOWN=60 $(BIN)/python -m pytest tests/deploy/test_alert_kills.py -m ""
	CHAOS_REMOTE_WRITE_KILLS=$(REMOTE_WRITE_KILLS) CHAOS_REMOTE_WRITE_DOWN=60 $(BIN)/python -m pytest tests/deploy/test_remote_write_kill.py
	CHAOS_PARQUET_KILLS=$(PARQUET_KILLS) $(BIN)/python -m pytest tests/e2e/test_parquet_kill.py
	CHAOS_DELIVERY_PHASES=$(DELIVERY_PHASES) $(BIN)/python -m pytest tests/broker/test_deliveries_on_kafka.py -m ""
	CHAOS_OUTPUT_AWAY=60 $(BIN)/python -m pytest tests/e2e/test_output_away.py
	CHAOS_IDLE_KILLS=$(IDLE_KILLS) $(BIN)/python -m pytest tests/e2e/test_idle_kill.py tests/broker/test_idle_kill_on_kafka.py

late: $(VENV)/.test-installed ## so many late EndTxn per client and way, a part of `make chaos`; prints a table (DELAYS=200)
	CHAOS_DELAYS=$(DELAYS) $(BIN)/python -m pytest tests/broker/chaos/test_chaos_late.py --timeout 7200 $(ARGS)

fuzz: $(VENV)/.test-installed ## broken input for every reader, other input every time; prints how many (FUZZ_EXAMPLES=20000)
	FUZZ_EXAMPLES=$(FUZZ_EXAMPLES) $(BIN)/python -m pytest tests/fuzz tests/broker/test_malformed_records.py --timeout 7200 --capture no $(ARGS)

fuzz-coverage: $(VENV)/.test-installed ## the same guided by coverage, so long per reader (FUZZ_SECONDS=60; atheris is installed for it)
	@$(BIN)/python -c "import atheris" 2>/dev/null || $(PIP) install --quiet "atheris>=3" || { echo "make: atheris could not be installed here; it has wheels for Linux" >&2; exit 1; }
	FUZZ_SECONDS=$(FUZZ_SECONDS) $(BIN)/python tests/fuzz/guided.py $(ARGS)

soak: $(VENV)/.test-installed ## an hour of load with kills, restarts, retraining and rebalances; prints a report (SOAK_MINUTES=60)
	SOAK_MINUTES=$(SOAK_MINUTES) $(BIN)/python tests/soak/soak.py

bench: $(VENV)/.test-installed ## one table: this beside its peers, on one core (ARGS="--quick"; peers come with the extra `bench`)
	@$(BIN)/python -c "import river" 2>/dev/null || $(PIP) install --quiet "river>=0.22" || echo "make: River could not be installed; its rows are left out"
	$(BIN)/python benchmarks/table.py $(ARGS)

figures: $(VENV)/.test-installed ## renew the tables of measurements in docs/, see docs/figures.md (hours; ARGS="--quick" prints short forms)
	$(BIN)/python benchmarks/figures.py $(ARGS)

accuracy: $(VENV)/.test-installed ## scores on public streams, into docs/accuracy.md (ARGS=FOLDER with the data, else ../shared)
	$(BIN)/python benchmarks/accuracy.py $(ARGS)

pretrain: $(VENV)/.test-installed ## the weights that come with the program, from generated series (forty minutes of one core)
	PYTHONPATH=benchmarks $(BIN)/python -m pretraining.train $(ARGS)

docs: $(VENV)/.test-installed ## write the reference pages anew from the program
	$(BIN)/python docs/generate.py

site: $(VENV)/.test-installed ## the documentation as a site, in site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

install: $(VENV)/.test-installed ## everything for development, into .venv

system: ## Debian packages of the programs that some tests run for real (as root)
	@packages=$$(sed 's/#.*//' requirements/debian.txt | xargs); \
	dpkg-query --show $$packages >/dev/null 2>&1 && exit 0; \
	apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$packages >/dev/null

lock: $(VENV)/.made ## resolve requirements/*.txt anew from pyproject.toml
	@$(PIP) install --quiet uv
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --upgrade pyproject.toml -o requirements/run.txt
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --upgrade --extra test --extra plots pyproject.toml -o requirements/test.txt

clean: ## remove the environment and caches (never data)
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .benchmarks .hypothesis
	find forecaster service tests benchmarks -name __pycache__ -prune -exec rm -rf {} +

# The stamps make a second call free; each is redone when what it was made from has changed. Every package is pinned
# with its hash; the project itself comes last, editable, with nothing of its own resolved.
$(VENV)/.run-installed: $(VENV)/.made requirements/run.txt pyproject.toml
	@echo "make: installing what the daemon needs into $(VENV) (once; a few hundred megabytes on disk)"
	@$(PIP) install --quiet --require-hashes -r requirements/run.txt
	@$(PIP) install --quiet --no-deps --editable .
	@touch $@

$(VENV)/.test-installed: $(VENV)/.made requirements/test.txt pyproject.toml
	@echo "make: installing what development needs into $(VENV) (once)"
	@$(PIP) install --quiet --require-hashes -r requirements/test.txt
	@$(PIP) install --quiet --no-deps --editable .
	@touch $@ $(VENV)/.run-installed

$(VENV)/.made:
	@for python in $(PYTHONS); do \
	  "$$python" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11, 5))' >/dev/null 2>&1 || continue; \
	  echo "make: creating $(VENV) with $$("$$python" -c 'import sys; print(sys.executable, sys.version.split()[0])')"; \
	  "$$python" -m venv $(VENV) && touch $@ && exit 0 || exit 1; \
	done; \
	echo "make: no usable Python: 3.11.5 or newer with its venv module is needed; tried: $(strip $(PYTHONS))." >&2; \
	echo "make: install one (Debian, Ubuntu: apt install python3 python3-venv) or name one: make PYTHON=/path/to/python3.12 ..." >&2; \
	exit 1
