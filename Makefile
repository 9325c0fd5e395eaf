# Two commands do everything: `make train` and `make test`. A second run skips what is there.
# Nothing depends on make: `pip install -e .` and `python -m kart_jax.data` do the same.

PYTHON ?= python3
VENV := .venv
# What the tests install beside the package; `make test EXTRAS=dev,peers` adds the large peers.
EXTRAS ?= dev
# Processes that test in parallel; they share a test file's fixtures by taking it whole.
JOBS ?= auto
# What `make train` runs for.
MINUTES ?= 10

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.PHONY: train test lint setup doctor system data clean
.NOTPARALLEL:

# $(call timed,STAGE,COMMAND): run the command and print how long it took.
timed = @start=$$SECONDS; $(2); echo "[$(1): $$((SECONDS - start)) s]"
# $(call stamp,EXTRAS): the file that says these were installed from this pyproject.toml.
stamp = $(VENV)/.installed$(subst $(comma),-,$(1:%=-%))
comma := ,

train: setup
	$(call timed,training,$(VENV)/bin/python -m kart_jax.train --preset cpu --track lighthouse --minutes $(MINUTES))

test: system $(call stamp,$(EXTRAS)) data
	$(call timed,lint and types,$(MAKE) --no-print-directory lint)
	$(call timed,tests,$(VENV)/bin/python -m pytest -n $(JOBS) --maxprocesses 4 --dist loadfile)

lint:
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

setup: system $(call stamp,) data

doctor: setup
	$(VENV)/bin/python -m kart_jax.doctor

system:
	$(call timed,system packages,$(PYTHON) -I kart_jax/game/engine/system_packages.py)

data:
	$(call timed,game data,$(VENV)/bin/python -m kart_jax.data)

$(VENV)/bin/python:
	$(call timed,virtual environment,$(PYTHON) -m venv $(VENV))

$(VENV)/.installed: pyproject.toml | $(VENV)/bin/python
	$(call timed,package,$(VENV)/bin/python -m pip install -q --disable-pip-version-check -e .)
	@touch $@

$(VENV)/.installed-%: pyproject.toml | $(VENV)/bin/python
	$(call timed,package with $*,$(VENV)/bin/python -m pip install -q --disable-pip-version-check -e '.[$(subst -,$(comma),$*)]')
	@touch $(VENV)/.installed $@

clean:
	rm -rf $(VENV) dist
