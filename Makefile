# `make` lists the targets. Each brings a fresh machine (Python 3.11 to 3.13, git, make) all the way by itself.
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
PYTEST := --numprocesses auto --dist loadfile --no-loadscope-reorder
DEMO := -P test_dataset=CREMA -P model=tiny -P lr=3.0e-3 -P batch_size=8 -P epochs=20
export PIP_DISABLE_PIP_VERSION_CHECK := 1
unexport PYTHONDONTWRITEBYTECODE  # where an image sets it, every command would compile all that it imports again

.PHONY: help setup demo raw test test-slow coverage docs check bench ui try listen lock clean
help:           ## list the targets
	@grep -hE '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 12

setup: .venv/complete   ## build .venv from requirements.lock and the local tracking store

# The stamp is written last: an install that broke half-way has none, and the next call does it again.
.venv/complete: requirements.lock python_env.yaml pipelines/install.py pipelines/setup.py
	@rm -f $@
	@$(PYTHON) -m pipelines.install
	@$(BIN)/python -m pipelines.setup
	@touch $@

demo: setup     ## synthesise the demo corpora, build their frames, train a tiny model on them (SYNTHETIC: shows the way, proves nothing)
	@$(BIN)/python -c "import ser_mlops.launching.dispatch" > /dev/null 2>&1 &  # compiles what the training imports, meanwhile
	dvc repro
	mlflow run . $(DEMO)

raw: setup      ## link data/raw to the folder that holds one folder per corpus: make raw FROM=FOLDER
	@python -m pipelines.raw --folder "$(FROM)"

test: setup     ## run the tests
	python -m pytest $(PYTEST)

test-slow: setup ## run the thorough variants too
	python -m pytest $(PYTEST) -m "slow or not slow"

coverage: setup ## run the tests and show which lines they reach: a table, and pages in htmlcov/
	rm -rf htmlcov .coverage*
	python -m pytest $(PYTEST) --cov --cov-report=term:skip-covered --cov-report=html

docs: setup     ## build docs/ and a reference of the package into site/; a broken link is an error
	NO_MKDOCS_2_WARNING=1 mkdocs build --strict --quiet

check: setup    ## what a contributor runs before every push: lint, format, types, spelling, docs, tests
	ruff check .
	ruff format --check .
	mypy
	codespell
	$(MAKE) --no-print-directory docs
	python -m pytest $(PYTEST)

bench: setup    ## measure every claim beside its peer and rewrite the tables (forty minutes; SCALE=4: four times the work)
	python -m benchmarks $(if $(SCALE),--scale $(SCALE))

ui: setup       ## open the laboratory's notebook: MLflow on http://localhost:5000
	mlflow ui

try: setup      ## open a page to try a model on a recording, the champion or another: make try MODEL=RUN_ID
	@python -m pipelines.try_page $(if $(MODEL),--model_uri "$(MODEL)")

listen: setup   ## open a page to listen to the clips that an experiment gets wrong: make listen RUN=RUN_ID
	@python -m pipelines.listen --run_id "$(RUN)"

# Every extra but egemaps: openSMILE is not free for every use, so whoever wants it installs it knowingly.
LOCKED := $(addprefix --extra ,dashboard notebook try slurm postgresql remotes server onnx dev)
lock:           ## resolve requirements.lock from pyproject.toml; pins that still fit stay (LOCK=--upgrade: the newest)
	uv pip compile --quiet --universal --no-annotate --no-header --python-version 3.11 $(LOCKED) $(LOCK) pyproject.toml --output-file requirements.lock

clean:          ## remove what can be rebuilt (not data, not the tracking store, not checkpoints)
	rm -rf .venv cache site htmlcov .coverage* .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
