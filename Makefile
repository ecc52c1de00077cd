# Everything a developer types. `make help` lists it. Needs make and Python 3.11 or newer; the rest is set up.

PYTHON ?= python3
UV ?= uv
ARGS ?=

RUN := .venv/bin/python
PIP := $(RUN) -m pip --disable-pip-version-check --no-input -q
COMPILE := $(UV) pip compile -q --universal --python-version 3.11 --no-emit-index-url --no-emit-find-links \
	--custom-compile-command "make lock" $(ARGS)

# The environment is reused while these are unchanged: Python, lock, project and place are in the names of its stamps
DIGEST := import hashlib,sys; from pathlib import Path; h=hashlib.sha256(sys.argv[1].encode()); \
	[h.update(Path(p).read_bytes()) for p in sys.argv[2:]]; h.update(bytes(sys.version_info[:2])); print(h.hexdigest()[:16])
LOCKED := .venv/locked-$(shell $(PYTHON) -c '$(DIGEST)' "" requirements.lock 2>/dev/null)
INSTALLED := .venv/installed-$(shell $(PYTHON) -c '$(DIGEST)' "$(CURDIR)" requirements.lock pyproject.toml 2>/dev/null)

.PHONY: help setup demo test nightly soak check bench peers chromium lock clean
.DEFAULT_GOAL := help

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' Makefile

setup: $(INSTALLED)  ## create .venv from requirements.lock, or reuse it while the lock is unchanged

demo: setup  ## run the main job on the built-in synthetic market; results go to out/demo
	$(RUN) main.py backtest --output-dir out/demo $(ARGS)

test: check  ## set up, check, and run all tests on two cores (ARGS="-k word" to choose)
	$(RUN) -m pytest -n 2 $(ARGS)

nightly: setup  ## every fault point, 10,000 damages, planted faults, long runs of all kinds (closes with counts)
	SMALLCAP_FAULTS=all $(RUN) -m pytest -n 2 -p no:randomly tests/faults tests/scripts/test_monitor_market.py $(ARGS)
	SMALLCAP_FAULTS=all $(RUN) -m pytest -n 2 -p no:randomly -m nightly tests $(ARGS)

soak: setup  ## a simulated year of minutes through the monitor: memory, files and tasks must stay flat
	SMALLCAP_FAULTS=all $(RUN) -m pytest tests/faults/soak_year.py $(ARGS)

check: setup  ## ruff, mypy and the direction of imports
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy
	.venv/bin/lint-imports --no-logo

bench: setup  ## measure the loop against C and the peers (ARGS=--json for one object)
	$(RUN) -m benchmarks.loop $(ARGS)

peers: setup  ## install the packages that results and speed are compared with
	$(PIP) install --no-deps -r requirements-peers.txt

chromium:  ## install Chromium with apt-get (as root): for --pdf and the browser tests
	@command -v apt-get >/dev/null || { echo "make chromium: needs apt-get; install Chromium or Chrome by other means" >&2; exit 1; }
	apt-get update
	apt-get install -y --no-install-recommends chromium

# The peers are resolved beside the lock, not against it: one that asks for an older version than ours gets ours
lock:  ## resolve requirements.lock and requirements-peers.txt (needs uv; ARGS=--upgrade for the newest)
	@command -v $(UV) >/dev/null || { echo "make lock: needs uv, not found: pip install uv, or UV=/path/to/uv" >&2; exit 1; }
	$(COMPILE) --generate-hashes --extra dev --extra notebook pyproject.toml requirements.in -o requirements.lock
	$(COMPILE) --no-annotate --extra peers --override requirements.lock pyproject.toml -o requirements-peers.all
	sed -n 's/ \\$$//p' requirements.lock | grep -vxFf - requirements-peers.all > requirements-peers.txt
	@rm requirements-peers.all

clean:  ## remove .venv, caches and results
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build out *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(INSTALLED): $(LOCKED)
	@rm -f .venv/installed-*
	$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@

$(LOCKED):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  found=$$($(PYTHON) -V 2>/dev/null); \
	  echo "make setup: needs Python 3.11 or newer, $(PYTHON) is $${found:-missing};" \
	       "name another: make PYTHON=/path/to/python3.12" >&2; exit 1; }
	$(PYTHON) -m venv --clear .venv
	$(PIP) install --require-hashes -r requirements.lock
	@touch $@
