# make demo: the main job on a small real dataset.   make test: every test but those of a release (make release).   Each sets up .venv by itself.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PARALLEL := -n auto --maxprocesses 4 --dist worksteal
STAMP := $(VENV)/.installed
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo test fast release lint install clean

demo: $(STAMP)
	$(BIN)/refluence compare --data digits --ipc 10 --methods random herding dc dc+influence --seeds 5 --out runs/demo --resume

test: $(STAMP) browser
	$(BIN)/ruff check src tests benchmarks examples
	$(BIN)/mypy
	$(BIN)/python -m pytest $(PARALLEL)

fast: $(STAMP)
	$(BIN)/python -m pytest $(PARALLEL) -m "not slow and not release"

# Kills at random moments, thousands of drawn inputs and networks, the wheel in an environment of its own: up to 45 minutes.
release: $(STAMP)
	$(BIN)/python -m pytest $(PARALLEL) -m release --durations=20

lint: $(STAMP)
	$(BIN)/ruff check src tests benchmarks examples && $(BIN)/ruff format --check src tests benchmarks examples && $(BIN)/mypy

install: $(STAMP)

$(STAMP): pyproject.toml src/refluence/version.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "Refluence needs Python 3.10 or newer: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { echo "Python's venv module is missing: on Debian and Ubuntu, apt-get install python3-venv"; exit 2; }
	@echo "Installing into $(VENV) (several minutes the first time) ..."
	@# torch and torchvision first and alone: the resolver then has nothing to weigh them against
	$(BIN)/python -m pip install -q torch torchvision
	$(BIN)/python -m pip install -q -e '.[dev]'
	@touch $@

# The browser test wants a Chromium or Chrome; without one it is skipped and says so.
.PHONY: browser
browser:
	@for name in chromium chromium-browser google-chrome google-chrome-stable; do \
	  command -v $$name >/dev/null 2>&1 && exit 0; \
	done; \
	test -e "/Applications/Google Chrome.app" -o -e /Applications/Chromium.app && exit 0; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then \
	  echo "Installing Chromium for the browser test ..."; \
	  apt-get install -y -qq chromium >/dev/null 2>&1 && exit 0; \
	  apt-get update -qq >/dev/null 2>&1 && apt-get install -y -qq chromium >/dev/null 2>&1 && exit 0; \
	fi; \
	echo "No Chromium or Chrome found: the browser test will be skipped."

clean:
	rm -rf runs build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
