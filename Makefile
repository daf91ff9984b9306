# What one types. It needs make and Python 3.11 or newer; everything else goes into .venv.

PYTHONS := $(or $(PYTHON),python3.14 python3.13 python3.12 python3.11 python3)
VENV_PYTHON := .venv/bin/python
PIP_INSTALL := $(VENV_PYTHON) -m pip install --disable-pip-version-check
COMPILE := uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-annotate

.PHONY: help run test test-deploy bench fuzz outage faults verify-faults recount demo lint lock clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1	/p' $(MAKEFILE_LIST)

run: .venv/run ## the whole portal on http://127.0.0.1:8000 until Ctrl-C (PORT and DATA_DIR place it)
	@exec $(VENV_PYTHON) manage.py up

test: .venv/test build/production/made ## every test, against real PostgreSQL, Valkey and S3
	@$(VENV_PYTHON) -m pytest -n 4 --dist loadgroup -m "not alone"
	@exec $(VENV_PYTHON) -m pytest -m alone

test-deploy: .venv/test build/production/made ## 50,000 events through two of each process on Debian's servers, some killed
	@exec $(VENV_PYTHON) -m tests.deploy.run --events 50000

bench: .venv/bench ## what the endpoint takes in, archiver and loader, then what the client costs its tool: twenty minutes
	@status=0; for part in ingest archiving loading client; do $(VENV_PYTHON) -m tests.bench.$$part || status=1; done; exit $$status

fuzz: .venv/test ## 100,000 hostile bodies against the endpoint, in a few minutes
	@exec $(VENV_PYTHON) -m tests.ingest.hostile_run --count 100000 --seed 1

outage: .venv/test ## Valkey frozen, stopped and killed for 20 seconds under load; and a flood from one address
	@for how in frozen stopped killed; do $(VENV_PYTHON) -m tests.bench.outage --how $$how || exit 1; done
	@exec $(VENV_PYTHON) -m tests.bench.flood

faults: .venv/test ## 500 kills and a broken bucket under load of 200,000 events (SEED=7 replays one)
	@exec $(VENV_PYTHON) -m tests.faults.run --events 200000 --kills 500 $(if $(SEED),--seed $(SEED))

verify-faults: .venv/test ## 200 planted faults among 10,000 objects: verify must find each and no other (SEED=7: others)
	@VERIFY_SEED=$(or $(SEED),1) VERIFY_OBJECTS=10000 VERIFY_FAULTS=200 $(VENV_PYTHON) -m pytest -s tests/analytics/test_verify.py -k seeded

recount: .venv/test ## 3,000 random filters, each asked every question: all figures as a recount of the events has them (SEED=7: others)
	@RECOUNT_SEED=$(or $(SEED),1) RECOUNT_FILTERS=3000 $(VENV_PYTHON) -m pytest -s tests/analytics/test_recount.py

demo: .venv/run ## as run, in build/demo, with 90 days of simulated history
	@exec env -u DATABASE_URL -u REDIS_URL -u ARCHIVE_BUCKET -u ARCHIVE_ENDPOINT_URL DATA_DIR=build/demo \
		$(VENV_PYTHON) manage.py up --then 'simulate --to archive --if-empty' --then load

lint: .venv/test ## style, types and missing migrations
	$(VENV_PYTHON) -m ruff check
	$(VENV_PYTHON) -m ruff format --check
	$(VENV_PYTHON) -m mypy .
	$(VENV_PYTHON) -m pip check
	$(VENV_PYTHON) -W ignore manage.py makemigrations --check --dry-run

lock: ## resolve pyproject.toml into the requirements files (needs uv)
	$(COMPILE) pyproject.toml -o requirements.txt
	$(COMPILE) --group pyproject.toml:embedded -c requirements.txt -o requirements-embedded.txt
	$(COMPILE) --group pyproject.toml:dev -c requirements.txt -c requirements-embedded.txt -o requirements-dev.txt
	$(COMPILE) --group pyproject.toml:bench -c requirements.txt -c requirements-dev.txt -o requirements-bench.txt

clean: ## remove .venv, build and caches; the portal's data stays
	rm -rf .venv build client/build .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +

# A file of .venv stands for each step: a step runs again when what it read has changed, or when it was cut short.

.venv/run: .venv/bin/pip requirements.txt requirements-embedded.txt client/pyproject.toml
	$(PIP_INSTALL) -r requirements.txt -r requirements-embedded.txt
	$(PIP_INSTALL) --no-build-isolation --no-deps -e ./client
	@touch $@

.venv/test: .venv/run requirements-dev.txt
	$(PIP_INSTALL) -r requirements-dev.txt
	@touch $@

.venv/bench: .venv/test requirements-bench.txt
	$(PIP_INSTALL) -r requirements-bench.txt
	@touch $@

# As the Dockerfile installs it: what production needs, and no more.
build/production/made: requirements.txt client/pyproject.toml $(wildcard client/vibetel_client/*.py) | .venv/bin/pip
	rm -rf build/production
	$(VENV_PYTHON) -m venv build/production
	build/production/bin/python -m pip install --disable-pip-version-check --require-hashes -r requirements.txt
	build/production/bin/python -m pip install --disable-pip-version-check --no-build-isolation --no-deps ./client
	@touch $@

.venv/bin/pip:
	@for python in $(PYTHONS); do \
		if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
			echo "making .venv with $$("$$python" --version)"; \
			exec "$$python" -m venv .venv; \
		fi; \
	done; \
	echo "No Python 3.11 or newer among: $(PYTHONS). Install one, or name it: make PYTHON=/path/to/python3" >&2; \
	exit 1
