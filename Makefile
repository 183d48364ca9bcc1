# Two commands on a fresh machine: `make demo` and `make test`. Both build .venv from this file alone.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
WORKSPACE ?= workspace
TORCH := torch==2.14.1 torchvision==0.29.1
SBOM := cyclonedx-bom==7.5.0
UV := uv==0.13.9

.PHONY: demo test test-docs test-all lint bench teacher filters pictures bench-science bench-stress stack stack-down flow tutorial docs sbom lock clean

demo: $(VENV)/.demo
	$(BIN)/echoingecg run demo --workspace $(WORKSPACE)

# A process for each core, up to four; each computes on one thread.
PARALLEL := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/pytest --numprocesses auto --maxprocesses 4 --dist loadfile

test: lint
	$(PARALLEL)

# Every command that README and docs tell people to type, as it stands there; for the stack, Postgres from apt.
test-docs: $(VENV)/.test
	$(BIN)/pytest -m "" tests/docs

# Slow tests too, and new random examples for the property tests.
test-all: lint
	HYPOTHESIS_PROFILE=free $(PARALLEL) -m ""

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/.test
	$(BIN)/python -m benchmarks

SEEDS ?= 5
bench-science: $(VENV)/.test
	$(BIN)/python -m experiments --seeds $(SEEDS)

# docs/trust.md: disturbed ECGs, doubt and coverage on simulated hospitals; an hour for five on 2 cores.
bench-stress: $(VENV)/.test
	$(BIN)/python -m experiments.trust --seeds $(SEEDS)

# The services of docker-compose.yml without containers, until Ctrl-C or `make stack-down`. Needs Postgres from apt.
STACK ?= build/stack
stack: $(VENV)/.test
	$(BIN)/python -m tests.stack up --data $(STACK)

# Random passwords for docker-compose.yml; needs nothing but Python.
.env:
	umask 077 && $(PYTHON) tests/stack/passwords.py > $@

stack-down:
	$(BIN)/python -m tests.stack down --data $(STACK)

# The lock file names every version; pyproject.toml names the ranges.
$(VENV)/.demo: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[all]'
	touch $@

$(VENV)/.test: $(VENV)/.demo
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[all,test,ui,docs]'
	touch $@

# The demo teacher that the package ships, made anew: half an hour on 2 cores.
teacher: $(VENV)/.demo
	$(BIN)/echoingecg teach echoingecg/teacher/configs/demo --workspace build/teach

# The filter's matrices for 500 Hz that the package ships, measured anew on the filter itself.
filters: $(VENV)/.demo
	$(BIN)/python -c 'from echoingecg.ecg.fast_filter import ship; ship()'

# The pictures of docs/simulator.md.
pictures: $(VENV)/.demo
	$(BIN)/python -m docs_reference.simulator_pictures docs/images

# The drawing of the data flow in README, from the tree and the first line of each folder.
flow: $(VENV)/.demo
	$(BIN)/python -m docs_reference.flow README.md

# The outputs on docs/python.md, from the workspace that `make demo` leaves.
tutorial: demo
	$(BIN)/python -m docs_reference.run_page docs/python.md

# The documentation as a site that needs no network: build/site/index.html. Warnings are errors.
docs: $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

$(VENV)/.docs: $(VENV)/.demo
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[all,docs]'
	touch $@

# Software bill of materials of .venv, CycloneDX: build/sbom.json
sbom: $(VENV)/.demo
	test -x build/sbom/bin/cyclonedx-py || $(PYTHON) -m venv build/sbom
	build/sbom/bin/pip install --quiet $(SBOM)
	build/sbom/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible \
		--output-file build/sbom.json $(BIN)/python

# Renews constraints.txt from the ranges, in an environment of its own, and the hashes of what an installation needs.
lock:
	rm -rf build/lock && $(PYTHON) -m venv build/lock
	build/lock/bin/pip install --quiet $(TORCH) '.[all,test,ui,docs]'
	(echo '# Every version of a tested environment. Renew with: make lock'; \
		build/lock/bin/pip freeze --exclude echoingecg --exclude pip --exclude setuptools) > constraints.txt
	build/lock/bin/pip install --quiet $(UV)
	(head -1 requirements.hashes.txt; build/lock/bin/uv pip compile pyproject.toml --extra all --quiet \
		--constraint constraints.txt --generate-hashes --universal --python-version 3.11 --no-annotate --no-header) \
		> build/lock/hashes && mv build/lock/hashes requirements.hashes.txt

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
