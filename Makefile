# The commands of README.md. Everything that they need is installed first: Debian packages when root, Python packages
# into .venv from hash-pinned locks.

PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
# gcc, libc6-dev and libssl-dev compile our keepalived; Debian's is for strangers on the segment, and with ucarp for comparison
LAB_PACKAGES := curl gcc haproxy iproute2 keepalived libc6-dev libssl-dev nftables openssl psmisc python3-venv ruby ucarp util-linux
LAB_COMMANDS := curl gcc haproxy keepalived killall nft nsenter openssl ruby ucarp unshare
# for virtual machines; newer suites have virtiofsd in a package of its own
GUEST_PACKAGES := busybox-static kmod qemu-system-common qemu-system-x86
# Python that has no .py in its name
SCRIPTS := src/bin/vrrpctl src/hooks/move-elastic-ip tests/lab/fabric/jobs/haproxy/templates/bpm
# Tests of the lab wait for elections rather than for the processor, so there are more of them side by side than most machines have cores.
SIDE_BY_SIDE := --numprocesses 7 --dist loadgroup

# What `make bench` measures; some of it alone: make bench BENCHES=updates
BENCHES := bench compare crashes scenarios updates handoff startup

GO_TOOLS := build/go/bin
PROMTOOL := build/prometheus/promtool
BOSH := $(or $(shell command -v bosh),$(GO_TOOLS)/bosh)
GO := $(shell PATH="$$PATH:/usr/local/go/bin" command -v go)
export PATH := /usr/sbin:/sbin:$(PATH):$(CURDIR)/$(GO_TOOLS)
export PYTHONPATH := lib:tests
export MPLBACKEND := Agg

.PHONY: help demo lab shell check test thorough kernels pythons programs unit coverage lint acceptance bench blobs release final installed tools generate lock clean deps promtool

help: ## show this list
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' Makefile

demo: deps ## the same rolling upgrade without and with vrrp-drain, side by side; writes build/demo/
	$(RUN) -m lab.benches.demo

check: lint unit ## what needs neither root nor keepalived: lint and unit tests, in about two minutes

lab: deps ## three instances and their clients to play with, and who has the VIP, live, until Ctrl-C
	$(RUN) -m lab.playground run build/lab

shell: $(VENV)/.ready ## a shell on a node of the lab that runs: make shell NODE=0, or NODE=0 CMD='vrrpctl status'
	@$(RUN) -m lab.playground shell build/lab "$(NODE)" "$$CMD"

test: check deps ## make check, and all tests of the lab, the templates and the release
	@$(MAKE) --no-print-directory $(BOSH) || echo "Without the bosh CLI the tests of the release and the manifests are skipped." >&2
	@$(MAKE) --no-print-directory promtool || echo "Without promtool the tests of the alerts are skipped; what lacks is above." >&2
	$(RUN) -m again --ignore tests/acceptance --ignore tests/machines --ignore tests/unit -m "not thorough" $(SIDE_BY_SIDE) $(PYTEST_ARGS)

thorough: deps ## what make test leaves out: long stories of the lab, tests in all their further settings, packages compiled several times
	$(RUN) -m again tests/lab tests/release -m thorough $(SIDE_BY_SIDE) $(PYTEST_ARGS)

pythons: deps ## the unit tests with each Python from 3.10 to 3.13, and a rolling upgrade whose instances have it; or PYTHONS="3.10" alone
	$(RUN) -m machines.pythons $(PYTHONS)

programs: deps ## haproxy, keepalived and nft of three Debian releases in the lab; a part of make thorough
	$(RUN) -m again tests/lab/test_programs.py $(SIDE_BY_SIDE) $(PYTEST_ARGS)

acceptance: deps tools ## the release as the bosh CLI builds it, with the real bosh-agent in every node of the lab
	$(RUN) -m pytest tests/acceptance $(PYTEST_ARGS)

kernels: deps .guest-commands ## what depends on the kernel, under those of three Debian suites in virtual machines, and what only such machines show, or KERNELS=bullseye SHARE=short; FAILED=1: what has failed, again; writes build/kernels/
	$(RUN) -m machines.kernels $(KERNELS) $(if $(SHARE),--share $(SHARE)) $(if $(FAILED),--failed)
	$(if $(SHARE)$(FAILED),,$(RUN) -m pytest tests/machines $(PYTEST_ARGS))

unit: $(VENV)/.ready ## the tests that need neither root nor keepalived
	$(RUN) -m pytest tests/unit --numprocesses auto --dist worksteal $(if $(CI),--cov --cov-report=term)

coverage: $(VENV)/.ready ## the same, and what they leave out; fails below the floor in pyproject.toml
	$(RUN) -m pytest tests/unit --numprocesses auto --cov --cov-report=term

lint: $(VENV)/.ready ## ruff, mypy, and what may import what
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/ruff check
	$(VENV)/bin/mypy --python-version 3.10 lib tests docs config
	$(VENV)/bin/mypy --python-version 3.10 --scripts-are-modules $(SCRIPTS)
	$(VENV)/bin/lint-imports --no-cache

bench: deps ## medians of 10 (or BENCH_RUNS) drains and crashes, planned moves in five ways, what happens when, updates of all kinds, the handoff at scale, and what starting costs; writes build/bench/
	@set -e; for each in $(BENCHES); do echo "lab.benches.$$each"; $(RUN) -m lab.benches.$$each $$([ $$each != startup ] || echo $(BASE)); done

blobs: $(VENV)/.ready ## get the files of config/blobs.yml into blobs/
	config/get-blobs

release: blobs $(BOSH) ## the BOSH release as this checkout is; writes build/vrrp-drain-VERSION.tgz
	$(RUN) config/create_release.py

final: blobs $(BOSH) ## a final version, of a commit, with its notes from CHANGELOG.md; says what lacks if it cannot be
	$(RUN) config/create_release.py final

installed: deps ## write tests/release/installed/ anew, the lists of what the compiled packages consist of
	$(RUN) -m release.inventory

tools: $(GO_TOOLS)/bosh $(GO_TOOLS)/bosh-agent ## bosh and bosh-agent, which the tests use

$(GO_TOOLS)/bosh: GO_PACKAGE := github.com/cloudfoundry/bosh-cli/v7
$(GO_TOOLS)/bosh-agent: GO_PACKAGE := github.com/cloudfoundry/bosh-agent/v2/main
$(GO_TOOLS)/%: tests/acceptance/go/go.sum
	@[ -n "$(GO)" ] || { echo "Missing: $(@F), and Go 1.24 or later that could build it. Install one of them first:" \
		"https://bosh.io/docs/cli-v2-install or https://go.dev/doc/install" >&2; exit 1; }
	cd tests/acceptance/go && $(GO) build -trimpath -ldflags='-s -w' -o $(CURDIR)/$@ $(GO_PACKAGE)
	@touch $@

# Debian's package prometheus would start a service, so promtool alone is taken out of it; apt checks what it downloads.
promtool: $(if $(shell command -v promtool),,$(PROMTOOL)) ## Prometheus' checker, which the tests use

$(PROMTOOL):
	@mkdir -p $(@D)
	cd $(@D) && apt-get -qq -o APT::Sandbox::User= download prometheus || { apt-get -qq update && apt-get -qq -o APT::Sandbox::User= download prometheus; }
	cd $(@D) && dpkg --fsys-tarfile prometheus_*.deb | tar -x --strip-components=3 ./usr/bin/promtool && rm prometheus_*.deb
	@touch $@

deps: .lab-commands $(VENV)/.ready blobs

.PHONY: .lab-commands
.lab-commands:
	@missing=""; for each in $(LAB_COMMANDS); do command -v $$each >/dev/null || missing="$$missing $$each"; done; \
	$(PYTHON) -c 'import ensurepip' 2>/dev/null || missing="$$missing python3-venv"; \
	[ -e /usr/include/openssl/ssl.h ] || missing="$$missing libssl-dev"; \
	[ -z "$$missing" ] && exit 0; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(LAB_PACKAGES); \
	else \
		echo "Missing:$$missing. Install them first, on Debian or Ubuntu: sudo apt-get install --no-install-recommends $(LAB_PACKAGES)" >&2; exit 1; \
	fi

.PHONY: .guest-commands
.guest-commands: $(VENV)/.ready
	@missing=$$($(RUN) -c 'from machines.hypervisor import missing; print(missing())') || exit; [ -z "$$missing" ] && exit 0; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
			$(GUEST_PACKAGES) $$(apt-cache pkgnames virtiofsd); \
	else \
		echo "$$missing" >&2; exit 1; \
	fi

$(VENV)/.ready: tests/requirements.txt
	$(PYTHON) -m venv --clear $(VENV)
	$(RUN) -m pip install --quiet --disable-pip-version-check --require-hashes -r tests/requirements.txt
	@touch $@

generate: $(VENV)/.ready ## write the parts of documentation and jobs that come from the code
	$(RUN) docs/generate.py

lock: $(VENV)/.ready ## write tests/requirements.txt anew from tests/requirements.in
	$(RUN) -m pip install --quiet uv
	@mkdir -p build
	$(VENV)/bin/uv pip compile --quiet --universal --python-version 3.10 --generate-hashes --no-header --no-annotate \
	  --output-file build/requirements.txt tests/requirements.in
	{ echo "# What tests, demo and benchmarks run with, each Python from 3.10 on. \`make lock\` writes this file."; \
	  cat build/requirements.txt; } > tests/requirements.txt

clean: ## remove what was built
	rm -rf build $(VENV) .dev_builds dev_releases .mypy_cache .pytest_cache .ruff_cache .hypothesis
