# `make tour` runs the main job, `make test` lints and runs the whole suite; both make .venv when it is not there.
first = $(shell for p in $(1); do $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
PYTHON ?= $(call first,python3 python3.14 python3.13 python3.12 python3.11 python)
OLDEST ?= $(call first,python3.11 python3.12 python3.13 python3.14 python3)
NEWEST ?= $(call first,python3.14 python3.13 python3.12 python3.11 python3)
BIN := .venv/bin

# What `make test-min` and `make test-newest` run: what depends on other packages, without notebooks, studies and browsers,
# and without the slow tests that show nothing more about versions: kills, training, every optimizer's path.
CORE := $(addprefix tests/test_,$(addsuffix .py,jaxpr layers schedules contracts derivatives sweeps columns store optuna \
	distributed plots landscape_plots report models adapters cli explorer))
SLOW := twenty_kills or joined_table or residual_networks or paths_are_those or python_to_copy or verdicts_name or either_precision \
	or presets_show or extreme_numbers or during_the_tour or script_that_logs

.PHONY: tour test test-min test-newest lint browser format bench docs dist clean

tour: .venv/.user
	$(BIN)/jaxopt-notes tour

test: lint browser
	$(BIN)/python -m pytest

test-min: .venv-min/.test
	.venv-min/bin/python -m pytest $(CORE) -k 'not ($(SLOW))'

test-newest: .venv-newest/.test
	.venv-newest/bin/python -m pytest $(CORE) -k 'not ($(SLOW))'

lint: .venv/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The explorer is tested in Debian's chromium; where it cannot be installed, those tests say that they were skipped.
browser:
	@test -x /usr/bin/chromium || { test "$$(id -u)" = 0 && apt-get update -qq && \
		DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core >/dev/null; } || \
		echo "no /usr/bin/chromium and no right to install it: the explorer's browser tests will be skipped"

format: .venv/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: .venv/.dev
	$(BIN)/python scripts/bench/sweeps.py

# The book, in build/book; a warning is an error.
docs: .venv/.dev
	$(BIN)/python -m sphinx -W --keep-going -q -b html notebooks build/book
	@echo "build/book/index.html"

# What would be published, in dist/: built and checked, and tested as an installed wheel, beside the tests of the sdist alone.
WHEEL := $(addprefix tests/test_,$(addsuffix .py,report ledger run_table lessons))
dist:
	rm -rf dist build/dist
	$(PYTHON) -m venv build/dist/venv
	build/dist/venv/bin/python -m pip install --quiet --disable-pip-version-check build twine
	build/dist/venv/bin/python -m build --outdir dist .
	build/dist/venv/bin/python -m twine check --strict dist/*
	mkdir build/dist/tree && tar -xf dist/*.tar.gz -C build/dist/tree --strip-components 1 && rm -r build/dist/tree/jaxopt_notes
	build/dist/venv/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt "$$(echo dist/*.whl)[test]"
	cd build/dist/tree && ../venv/bin/jaxopt-notes doctor && ../venv/bin/pytest -p no:cacheprovider $(WHEEL)

clean:
	rm -rf .venv .venv-min .venv-newest build dist .pytest_cache .mypy_cache .ruff_cache runs

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "jaxopt-notes needs Python 3.11 or newer; set one with make PYTHON=/path/to/python"; exit 1; }
	$(PYTHON) -m venv .venv || { rm -rf .venv; exit 1; }

.venv/.user: $(BIN)/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[all]'
	@touch $@

.venv/.dev: $(BIN)/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@ .venv/.user

# The lowest versions that pyproject.toml allows, on the oldest Python here: make test-min OLDEST=/path/to/python3.11
.venv-min/.test: pyproject.toml scripts/lowest.py
	rm -rf .venv-min
	$(OLDEST) -m venv .venv-min
	.venv-min/bin/python scripts/lowest.py > .venv-min/lowest.txt
	.venv-min/bin/python -m pip install --quiet --disable-pip-version-check --constraint .venv-min/lowest.txt --editable '.[test]'
	@touch $@

# The newest versions that it allows and that install, on the newest Python here: make test-newest NEWEST=/path/to/python3.14
.venv-newest/.test: pyproject.toml
	rm -rf .venv-newest
	$(NEWEST) -m venv .venv-newest
	.venv-newest/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	@touch $@
