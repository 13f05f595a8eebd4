# Each target installs what it needs into .venv with pip and can be run again.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --constraint constraints.txt
PLUGINS := $(sort $(dir $(wildcard plugins/*/pyproject.toml)))
CLIENT := $(wildcard client/pyproject.toml)
LOCAL := $(patsubst %/pyproject.toml,%,$(CLIENT)) $(PLUGINS:/=)
PROJECTS := pyproject.toml $(CLIENT) $(addsuffix pyproject.toml,$(PLUGINS)) constraints.txt
DEMO := $(patsubst %/pyproject.toml,%,$(CLIENT)) plugins/tabletop plugins/mini 'plugins/timm[efficientnet]'

.PHONY: demo test test-ray test-thorough test-robotwin quick fuzz check format docs bench dist clean

# stops at once where pip would only fail after it has downloaded everything
VENV = test -x $(BIN)/python || { $(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) \
	else "make: python " + sys.version.split()[0] + " is too old; install Python 3.11 to 3.14, and name it:" \
	" make PYTHON=python3.11")' && $(PYTHON) -m venv .venv; }

.venv/demo: $(PROJECTS)
	@$(VENV)
	$(PIP) --editable . $(addprefix --editable ./,$(DEMO))
	touch $@

.venv/ready: $(PROJECTS)
	@$(VENV)
	$(PIP) --editable '.[dev]' $(addprefix --editable ./,$(LOCAL))
	touch $@ .venv/demo

.venv/docs: .venv/ready
	$(PIP) --editable '.[docs]'
	touch $@

demo: .venv/demo  ## run the whole chain on the quickstart
	$(BIN)/rgb2act run examples/quickstart.toml

test: .venv/ready  ## run all tests but thorough ones and those of benchmarks and Ray, on two processes
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m 'not benchmark and not ray and not thorough' -n 2 --dist worksteal

test-thorough: .venv/ready  ## run the tests that take long and check what seldom changes
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m thorough -n 2 --dist worksteal

test-ray: .venv/ready  ## run stages on a Ray cluster of three nodes on this machine
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m ray plugins/ray

test-robotwin: .venv/ready  ## run against RoboTwin's real code; installs a simulator of some GB
	$(BIN)/python plugins/robotwin/real/run.py

quick: .venv/ready  ## run the fast tests, in about two minutes
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal

SECONDS ?= 60
fuzz: .venv/ready  ## read mutated inputs of every kind for SECONDS; store those that fail
	RGB2ACT_QUIET=1 OMP_NUM_THREADS=1 $(BIN)/python tests/fuzzing/fuzz.py --seconds $(SECONDS)

check: .venv/ready  ## lint, formatting, import layers, types, metadata
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy
	$(BIN)/mypy $(foreach plugin,$(PLUGINS),-p rgb2act_$(notdir $(plugin:/=)))
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.github-issue-forms .github/ISSUE_TEMPLATE/[!c]*.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.citation-file-format CITATION.cff

format: .venv/ready  ## fix formatting and what lint can fix
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: .venv/docs  ## build the documentation site in site/
	$(BIN)/mkdocs build --strict

bench: .venv/ready  ## test the benchmarks, and measure speed as ratios
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m benchmark
	for each in benchmarks/bench_*.py; do echo "== $$each"; $(BIN)/python $$each || exit 1; done

dist: .venv/ready  ## build a wheel and an sdist of every distribution in dist/
	rm -rf dist
	for each in . $(LOCAL); do (cd $$each && $(abspath $(BIN))/python -m hatchling build --directory $(abspath dist)) || exit 1; done

clean:
	rm -rf .venv site dist
