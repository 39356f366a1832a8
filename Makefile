# Set-up, and the habits of the repository. `make help` lists the targets.

PYTHON ?= python3
PORT ?= $(if $(GANYMEDE_PORT),$(GANYMEDE_PORT),8000)
# One more package index, for torch: PyTorch's own for a CPU or a CUDA build. Empty: the usual index alone.
TORCH_INDEX ?=

# Serving needs no torch, so it has an environment of its own; everything else shares one.
SERVE := .venv
DEV := .venv-dev
DIST := dist

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help run test train starter lint format openapi acceptance bench constraints sbom clean

help: ## list the targets
	@sed -n 's/^\([a-z]*\):[^#]*## /\1|/p' Makefile | awk -F'|' '{printf "  make %-12s %s\n", $$1, $$2}'

run: $(SERVE)/installed ## serve the starter and ./models on http://localhost:8000 (PORT= changes it)
	@mkdir -p models
	@GANYMEDE_MODELS="$${GANYMEDE_MODELS:-deploy/starter:models}" \
	GANYMEDE_DEFAULT_MODEL="$${GANYMEDE_DEFAULT_MODEL:-fashion}" \
	GANYMEDE_STATE_FILE="$${GANYMEDE_STATE_FILE:-models/.ganymede.json}" \
	$(SERVE)/bin/ganymede serve --port "$(PORT)"

test: $(DEV)/installed ## run the tests
	@OMP_NUM_THREADS=1 $(DEV)/bin/python -m pytest -q -m "not acceptance" -n auto --dist loadfile

train: $(DEV)/installed ## train on Fashion-MNIST for two minutes; `make run` then offers fashion-fast
	@set -e; run=$$($(DEV)/bin/ganymede train cgan-fashion-fast); \
	$(DEV)/bin/ganymede export "$$run" --name fashion-fast

# The old starter stays until the new one is whole.
starter: $(DEV)/installed ## train the starter model anew (20 minutes)
	@set -e; run=$$($(DEV)/bin/ganymede train cgan-fashion-good); \
	$(DEV)/bin/ganymede export "$$run" --name fashion --version 1 --no-torchscript --models "$$run/models"; \
	mkdir -p deploy/starter; rm -rf deploy/starter/fashion; mv "$$run/models/fashion" deploy/starter/; \
	echo "deploy/starter/fashion/1 is new: run the tests, and commit it."

lint: $(DEV)/installed ## check style, types and import rules
	@$(DEV)/bin/ruff check .
	@$(DEV)/bin/ruff format --check .
	@$(DEV)/bin/mypy
	@$(DEV)/bin/lint-imports --no-logo

format: $(DEV)/installed ## rewrite the code in the one style
	@$(DEV)/bin/ruff check --fix .
	@$(DEV)/bin/ruff format .

openapi: $(DEV)/installed ## write service/openapi.json anew, after a change of the routes
	@$(DEV)/bin/python -m service.openapi

acceptance: $(DEV)/installed ## run what needs external tools or long runs; each check says what it did
	@$(DEV)/bin/python -m pytest -q -rA -m acceptance tests/acceptance

bench: $(DEV)/installed ## measure quality and speed (long, and wants a quiet machine)
	@status=0; for measure in "quality deploy/starter/fashion/1" "quality --train cgan-fashion-fast" \
		training pretraining anomaly "anomaly held-out" "anomaly other-data" diagnosis service soak; do \
		echo "python -m bench.$$measure"; $(DEV)/bin/python -m bench.$$measure || status=1; done; exit $$status

constraints: ## resolve every dependency anew into constraints.txt
	@set -e; fresh=$$(mktemp -d); trap 'rm -rf "$$fresh"' EXIT; $(PYTHON) -m venv "$$fresh"; \
	"$$fresh/bin/python" -m pip install --quiet $(TORCH_OPTION) --editable '.[train,export,cpu,dev]'; \
	{ sed -n '/^#/p' constraints.txt; "$$fresh/bin/python" -m pip freeze --all --exclude-editable --exclude pip \
		| sed 's/+[a-z0-9.]*$$//'; } > "$$fresh/constraints.txt"; \
	mv "$$fresh/constraints.txt" constraints.txt

# The version, which hatchling reads from service/__init__.py, is written where cyclonedx-py reads it.
sbom: $(SERVE)/installed ## list the parts of the service, with versions and licences: dist/service.cdx.json
	@set -e; fresh=$$(mktemp -d); trap 'rm -rf "$$fresh"' EXIT; $(PYTHON) -m venv "$$fresh"; \
	"$$fresh/bin/python" -m pip install --quiet --disable-pip-version-check cyclonedx-bom==7.5.0; \
	version=$$($(SERVE)/bin/python -c 'import service; print(service.__version__)'); \
	sed "s/^dynamic = .*/version = \"$$version\"/" pyproject.toml > "$$fresh/pyproject.toml"; mkdir -p $(DIST); \
	"$$fresh/bin/python" -m cyclonedx_py environment --pyproject "$$fresh/pyproject.toml" --output-reproducible \
		--output-file $(DIST)/service.cdx.json $(SERVE)/bin/python; echo $(DIST)/service.cdx.json

clean: ## remove the environments and the caches; models and runs stay
	rm -rf $(SERVE) $(DEV) .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache dist

# An environment is brought up to date when what it installs changes; otherwise a second call is instant.
$(SERVE)/installed: EXTRAS := cpu
$(DEV)/installed: EXTRAS := train,export,cpu,dev
TORCH_OPTION = $(if $(TORCH_INDEX),--extra-index-url "$(TORCH_INDEX)")

$(SERVE)/installed $(DEV)/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { echo \
		"Ganymede needs Python 3.11 or newer: $(PYTHON) is older or missing. Try make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo \
		"$(PYTHON) cannot make environments. On Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@echo "Installing $(EXTRAS) into $(@D) (once; a minute or a few) ..."
	@$(PYTHON) -m venv $(@D)
	@$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
		$(TORCH_OPTION) --editable '.[$(EXTRAS)]'
	@touch $@
