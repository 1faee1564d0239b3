# make install  what a worker needs, in .venv; EXTRAS=parquet,otel adds what exports to Parquet and traces need
# make run    the main job on this machine alone: embedded broker, demo model where no LLM answers
# make test   everything, with a real Kafka and a real RabbitMQ that it provides itself
# make cycle  1 -> 2 -> 3 workers under load on a real Kafka, killed, stopped, the broker restarted: nothing lost
# make chaos  streams on 1 -> 3 -> 1 workers, killed, stopped, paused, on brokers that restart: every promise checked
# make bench  ratios to no proxy and to a bare proxy, start and recovery; table, JSON and plot under bench/results
# make lint   style, types, import rules
# What these need from the system (Python; Java, Maven, RabbitMQ; for tests also a browser, Node.js, OpenSSL) is looked
# for first: scripts/system_packages.sh says what is missing, and installs it where it may.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null && echo $$p && break; done)
VENV   ?= .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/pip install --progress-bar on --disable-pip-version-check --constraint constraints.txt --editable
USERS  := $(VENV)/.installed
STAMP  := $(VENV)/.installed-dev
# The extras that a worker is installed with. They stay until others are asked for: a new version of Weir keeps them.
EXTRAS ?=
NOTED  := $(VENV)/.extras
comma  := ,
# Files of tests that run at the same time. 0 runs one after the other: some tests of crashes and windows say when a
# thing must have happened, and have missed that on two cores that two or three files shared. JOBS=2 is for a first look.
JOBS   ?= 0

.PHONY: install run test cycle chaos bench lint format docs clean system system-brokers system-python always
# With -j the virtual environment would be made beside the installation of Python.
.NOTPARALLEL:

system:
	@scripts/system_packages.sh

system-brokers:
	@scripts/system_packages.sh python java maven rabbitmq

system-python:
	@scripts/system_packages.sh python

$(BIN)/python: | system-python
	$(PYTHON) -m venv $(VENV)

# Written only when it says something else, so that the installation below runs again then and not otherwise.
$(NOTED): always | $(BIN)/python
	@for extra in $(subst $(comma), ,$(EXTRAS)); do grep -q "^$$extra = \[" pyproject.toml || \
		{ echo "there is no extra $$extra" >&2; exit 1; }; done
	@test -f $@ -a -z "$(EXTRAS)" || echo "rocksdb$(if $(EXTRAS),$(comma)$(EXTRAS))" | cmp -s - $@ || \
		echo "rocksdb$(if $(EXTRAS),$(comma)$(EXTRAS))" >$@

$(USERS): pyproject.toml constraints.txt $(NOTED) | $(BIN)/python
	@echo "Installing Weir and what it needs into $(VENV): a minute or two the first time"
	$(PIP) ".[$$(cat $(NOTED))]"
	@touch $@

$(STAMP): pyproject.toml constraints.txt | $(BIN)/python $(NOTED)
	@echo "Installing Weir, what it needs and its tests into $(VENV): some minutes the first time"
	$(PIP) '.[dev,otel,parquet,rocksdb]'
	@touch $@ $(USERS)

install: $(USERS)

run: $(USERS)
	$(BIN)/python -m demo.run

test: system $(STAMP)
	$(BIN)/python -m tests.services -- $(BIN)/python -m pytest -n $(JOBS) --dist loadfile $(ARGS)

cycle: system-brokers $(STAMP)
	$(BIN)/python -m tests.cycle $(ARGS)

chaos: system-brokers $(STAMP)
	$(BIN)/python -m tests.chaos $(ARGS)

bench: system-brokers $(STAMP)
	$(BIN)/python -m bench $(ARGS)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m scripts.docs --check
	$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec docker-compose.yml
	$(BIN)/hadolint Dockerfile

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(STAMP)
	$(BIN)/python -m scripts.docs

clean:
	rm -rf $(VENV) data .mypy_cache .pytest_cache .ruff_cache *.egg-info
