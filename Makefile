# The commands of README.md. Everything that they need is installed first: Debian packages when root, Python packages
# into .venv from hash-pinned locks.

PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
WHEELS := build/wheels
LAB_PACKAGES := haproxy iproute2 keepalived psmisc python3-venv ruby util-linux
LAB_COMMANDS := haproxy keepalived killall nsenter ruby unshare
# The lab makes its own namespaces. Root may; anybody else gets a user namespace in which he is root.
AS_ROOT := $(if $(filter 0,$(shell id -u)),,unshare --user --map-root-user)

export PATH := /usr/sbin:/sbin:$(PATH)
export PYTHONPATH := lib:tests
export MPLBACKEND := Agg

.PHONY: help demo test unit lint bench docs lock clean deps

help: ## show this list
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' Makefile

demo: deps ## the same rolling upgrade without and with vrrp-drain, side by side; writes build/demo/
	$(AS_ROOT) $(RUN) -m lab.rig.demo

test: deps lint ## all tests
	$(AS_ROOT) $(RUN) -m pytest $(PYTEST_ARGS)

unit: $(VENV)/.ready ## the tests that need neither root nor keepalived
	$(RUN) -m pytest tests/unit

lint: $(VENV)/.ready ## ruff and mypy
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/ruff check
	$(VENV)/bin/mypy --python-version 3.10 lib
	$(VENV)/bin/mypy tests docs

bench: deps ## medians of 10 moves; writes build/bench/result.json
	$(AS_ROOT) $(RUN) -m lab.rig.bench

deps: .lab-commands $(VENV)/.ready $(WHEELS)/.ready

.PHONY: .lab-commands
.lab-commands:
	@missing=""; for each in $(LAB_COMMANDS); do command -v $$each >/dev/null || missing="$$missing $$each"; done; \
	$(PYTHON) -c 'import ensurepip' 2>/dev/null || missing="$$missing python3-venv"; \
	[ -z "$$missing" ] && exit 0; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(LAB_PACKAGES); \
	else \
		echo "Missing:$$missing. Install them first, on Debian or Ubuntu: sudo apt-get install --no-install-recommends $(LAB_PACKAGES)" >&2; exit 1; \
	fi

$(VENV)/.ready: tests/requirements.txt
	$(PYTHON) -m venv --clear $(VENV)
	$(RUN) -m pip install --quiet --disable-pip-version-check --require-hashes -r tests/requirements.txt
	@touch $@

# pip of the venv fetches what a stemcell will unpack: pure-Python wheels that run on Python 3.10 and later.
$(WHEELS)/.ready: packages/vrrp-drain/requirements.txt | $(VENV)/.ready
	rm -rf $(WHEELS) && mkdir -p $(WHEELS)
	$(RUN) -m pip download --quiet --disable-pip-version-check --no-deps --require-hashes --only-binary :all: \
		--platform any --implementation py --abi none --python-version 3.10 -r $< -d $(WHEELS)
	@touch $@

docs: $(VENV)/.ready ## write the parts of the documentation that come from the code
	$(RUN) docs/generate.py

lock: $(VENV)/.ready ## write tests/requirements.txt anew from tests/requirements.in
	$(RUN) -m pip install --quiet pip-tools
	{ echo "# What tests, demo and benchmarks run with. \`make lock\` writes this file."; \
	  $(VENV)/bin/pip-compile --quiet --generate-hashes --no-header --no-emit-index-url --no-emit-trusted-host --no-emit-find-links \
	    --strip-extras --no-annotate --output-file - tests/requirements.in; } > build/requirements.txt
	mv build/requirements.txt tests/requirements.txt

clean: ## remove what was built
	rm -rf build $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis
