# Two commands do everything: `make train` and `make test`. A second run skips what is there.
# Nothing depends on make: `pip install -e .` and `python -m kart_jax.data` do the same.
# What is installed is locked in constraints.txt. `make test-newest`, or NEWEST=1 with any
# target, takes the newest of everything instead, in an environment beside the other.

PYTHON ?= python3
ifdef NEWEST
VENV := .venv-newest
VERSIONS := --upgrade --upgrade-strategy eager
else
VENV := .venv
VERSIONS := --constraint constraints.txt
endif
# What the tests install beside the package; `make test EXTRAS=dev,peers` adds the large peers.
EXTRAS ?= dev
# Processes that test in parallel; they share a test file's fixtures by taking it whole.
JOBS ?= auto
# What `make train` runs for.
MINUTES ?= 10
# The oldest Python that `make lock` finds versions for.
OLDEST := 3.11

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.PHONY: train test test-newest lint lock setup doctor system data clean
.NOTPARALLEL:

# $(call timed,STAGE,COMMAND,PURPOSE): say what the command is for, run it, print how long it took.
timed = @echo "$(1): $(3)"; start=$$SECONDS; $(2); echo "[$(1): $$((SECONDS - start)) s]"
# $(call stamp,EXTRAS): the file that says these were installed from this pyproject.toml.
stamp = $(VENV)/.installed$(subst $(comma),-,$(1:%=-%))
comma := ,
pip = $(VENV)/bin/python -m pip install -q --disable-pip-version-check

train: setup
	$(call timed,training,$(VENV)/bin/python -m kart_jax.train --preset cpu --track lighthouse --minutes $(MINUTES),$\
		for about $(MINUTES) minutes; Ctrl-C stops it and saves)

test: system $(call stamp,$(EXTRAS)) data
	$(call timed,tests,$(VENV)/bin/python -m pytest -n $(JOBS) --maxprocesses 4 --dist loadfile,of all parts; the real game included)

test-newest:
	rm -f .venv-newest/.installed*
	@$(MAKE) --no-print-directory test NEWEST=1

# For whoever changes the code; `make test` is for whoever checks that it works.
lint: system $(call stamp,dev)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

# Write the newest versions of today to constraints.txt, for every Python from the oldest on.
lock: system $(VENV)/bin/python
	$(pip) uv
	$(VENV)/bin/uv pip compile -q --universal --upgrade --python-version $(OLDEST) --extra dev \
		--no-annotate --custom-compile-command 'make lock' -o constraints.txt pyproject.toml

setup: system $(call stamp,) data

doctor: setup
	$(VENV)/bin/python -m kart_jax.doctor

system:
	$(call timed,system packages,$(PYTHON) -I kart_jax/game/engine/system_packages.py,what the game draws with)

data:
	$(call timed,game data,$(VENV)/bin/python -m kart_jax.data,tracks and karts of SuperTuxKart; downloaded once)

$(VENV)/bin/python:
	$(call timed,virtual environment,$(PYTHON) -m venv $(VENV),in $(VENV); nothing else on this machine changes)

$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(call timed,package,$(pip) $(VERSIONS) -e .,kart_jax$(comma) JAX and the like; a minute or more without output)
	@touch $@

$(VENV)/.installed-%: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(call timed,package with $*,$(pip) $(VERSIONS) -e '.[$(subst -,$(comma),$*)]',kart_jax$(comma) JAX and the like; a minute or more without output)
	@touch $(VENV)/.installed $@

clean:
	rm -rf .venv .venv-newest dist
