# Everything runs inside $(VENV); ARGS is passed on to the command: make fit ARGS="--seed 2".
PYTHON ?= python3
VENV ?= .venv
ARGS ?=
RUN := $(VENV)/bin/python -m
UV := 0.13.8

export PIP_DISABLE_PIP_VERSION_CHECK := 1
unexport PYTHONDONTWRITEBYTECODE # or each of the tests' many processes compiles every source anew

.DEFAULT_GOAL := help
.PHONY: help install fit test nightly check lint lock clean

help:  ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

install: $(VENV)/.installed  ## make the virtual environment with the locked versions

# setuptools comes from the lock too, so nothing unlocked is downloaded to build the package itself. Compiling all that is
# installed would take a minute; what is imported is compiled then.
$(VENV)/.installed: requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed" if sys.version_info < (3, 11) else 0)'
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(RUN) pip install --no-compile --require-hashes -r requirements.lock
	$(RUN) pip install --no-deps --no-build-isolation -e .
	touch $@

fit: install  ## train the default recogniser
	$(RUN) seq2seq_asr.fit $(ARGS)

test: install  ## run the tests on two processes
	$(RUN) pytest -n 2 --dist worksteal -q $(ARGS)

nightly: install  ## run all tests with checks of shapes, and those that take minutes, such as 20 real kills of saves
	CHECK_SHAPES=1 $(RUN) pytest -n 2 --dist worksteal -q
	CHECK_SHAPES=1 $(RUN) pytest -q -m nightly --timeout 3600 $(ARGS)

lint: install  ## style and types
	$(RUN) ruff check
	$(RUN) ruff format --check
	$(RUN) mypy

check: lint test  ## all that a change must pass

lock: install  ## write requirements.lock anew; newest versions with ARGS=--upgrade
	$(RUN) pip install -q uv==$(UV)
	$(RUN) uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --generate-hashes \
		--no-config --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" \
		-q -o requirements.lock $(ARGS)

clean:  ## remove what is made from the sources; runs in checkpoints/ stay
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache
	find seq2seq_asr tests tools -name __pycache__ -prune -exec rm -rf {} +
