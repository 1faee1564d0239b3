# make install  installs a worker in .venv; EXTRAS=parquet,otel adds exports to Parquet, and traces
# make run    runs one worker on the embedded log, with the demo model if no LLM answers
# make test   runs all tests, with a real Kafka and a real RabbitMQ that it starts itself
# make test-unit  the unit tests alone: no broker, under two minutes on two cores
# make cycle  runs 1 -> 2 -> 3 workers under load on Kafka, kills and stops them, restarts the broker: nothing is lost
# make chaos  runs streams on 1 -> 3 -> 1 workers, kills, stops and pauses them, restarts brokers: checks every promise
# make bench  measures ratios to no proxy and to a bare proxy, start, recovery; table, JSON, plot in bench/results
# make lint   checks style, types, import rules, generated docs
# Each of them first checks the programs that it needs from the system (Python; Java, Maven, RabbitMQ; for tests also a
# browser, Node.js, OpenSSL): scripts/system_packages.sh lists missing ones, and installs them if it may.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null && echo $$p && break; done)
VENV   ?= .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/pip install --progress-bar on --disable-pip-version-check --constraint constraints.txt --editable
USERS  := $(VENV)/.installed
STAMP  := $(VENV)/.installed-dev
# The extras that a worker is installed with. They stay until EXTRAS names others: a new version of Weir keeps them.
EXTRAS ?=
NOTED  := $(VENV)/.extras
comma  := ,
# Processes that run tests side by side: most tests wait for brokers and clocks. One more than there are cores, and no
# more than 6, for each has brokers of its own. 0 runs one test after the other.
JOBS   ?= $(shell cores=$$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2); echo $$((cores < 5 ? cores + 1 : 6)))

.PHONY: install run test test-unit cycle chaos bench lint format docs clean system system-brokers system-python always
# With -j, make would create the virtual environment while it installs Python.
.NOTPARALLEL:

system:
	@scripts/system_packages.sh

system-brokers:
	@scripts/system_packages.sh python java maven rabbitmq

system-python:
	@scripts/system_packages.sh python

$(BIN)/python: | system-python
	$(PYTHON) -m venv $(VENV)

# Written only when its content changes, so that the installation below runs again only then.
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

test-unit: system-python $(STAMP)
	$(BIN)/python -m pytest -n $(JOBS) $(ARGS) tests/unit

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
