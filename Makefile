# The two commands that matter: make up, make test.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

GO ?= go
# The version is given below: Go need not ask git, which refuses in a checkout that belongs to somebody else.
export GOFLAGS := -buildvcs=false $(filter-out -buildvcs=%,$(GOFLAGS))
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
CACHE := $(CURDIR)/.cache
TOOLS := $(CACHE)/bin
GOLANGCI_LINT_VERSION := v2.15.0
GOVULNCHECK_VERSION := v1.9.0
GOLANGCI_LINT := $(TOOLS)/golangci-lint-$(GOLANGCI_LINT_VERSION)
GOVULNCHECK := $(TOOLS)/govulncheck-$(GOVULNCHECK_VERSION)
BINARIES := huker huker-api huker-nodekeeper huker-sysmgr
GUESTS := huker-guestagent huker-supervisor

# Packages with a test of the whole, which run one after the other; all others run beside each other.
WHOLE := $(GO) list ./... | { grep '/test/' || true; }
PARTS := $(GO) list ./... | { grep -v '/test/' || true; }
# The quick run leaves off those that start servers of others, which takes its time: ZooKeeper, RabbitMQ.
QUICK := $(PARTS) | { grep -vE '/(coord/zk|bus/rabbitmq)' || true; }
GOTEST := $(GO) test -shuffle=on
# run_tests FLAGS,LIST
run_tests = pkgs=$$($(2)); if [ -n "$$pkgs" ]; then $(GOTEST) $(1) $$pkgs; fi

.PHONY: help up down build images docker test test-quick test-e2e test-fleet chaos lessons chaos-fleet bench fleet-up fleet-down cluster-up cluster-down test-cluster lint tidy-check tools clean

help: ## say what can be made
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

up: docker images ## install what is missing, build, start Huker with a MySQL database, print how to reach it
	bin/huker up $(ARGS)

down: build ## stop Huker and its databases; make down ARGS=--purge removes the data too
	bin/huker down $(ARGS)

# What guests run goes first: the others are told which ones belong to them, by content, so that a host can have them from another one.
STAMP = $$(sha256sum bin/huker-guestagent bin/huker-supervisor | cut -d ' ' -f 1 | paste -sd ,)
build: ## build the programs into bin/
	@CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o bin/ $(addprefix ./cmd/,$(GUESTS))
	@CGO_ENABLED=0 $(GO) build -trimpath -ldflags "-s -w -X main.version=$(VERSION) -X github.com/huker/huker/internal/controlplane.guestSums=$(STAMP)" \
		-o bin/ $(addprefix ./cmd/,$(BINARIES))

images: docker build ## make the container images (nothing to do when they are there)
	bin/huker image build

docker:
	@scripts/ensure-docker

test: docker images ## every test, the real ones included, with the race detector
	@scripts/ensure-test-tools
	@export HUKER_REQUIRE_DOCKER=1; unset HUKER_NO_DOCKER; status=0; \
	$(call run_tests,-race -vet=off -p 2 -timeout 30m,$(PARTS)) || status=$$?; \
	$(call run_tests,-race -vet=off -p 1 -timeout 40m,$(WHOLE)) || status=$$?; \
	exit $$status

test-quick: ## the tests that need no Docker, in under a minute
	@# Twice as many packages at once as there are cores, because most of them wait more than they compute.
	@export HUKER_NO_DOCKER=1; $(call run_tests,-short -timeout 2m -p $$((2 * $$(nproc))),$(QUICK))

test-e2e: docker images ## the tests of the whole only: make test-e2e ARGS='-run TestName -v'
	@scripts/ensure-test-tools
	@HUKER_REQUIRE_DOCKER=1 $(GOTEST) -race -p 1 -timeout 20m $(ARGS) ./test/e2e/...

test-fleet: docker images ## the tests of the whole on three hosts with RabbitMQ, ZooKeeper and MySQL
	@scripts/ensure-test-tools
	@HUKER_REQUIRE_DOCKER=1 HUKER_E2E_FLEET=1 $(GOTEST) -p 1 -timeout 60m -run TestOnAFleet $(ARGS) ./test/e2e

DURATION ?= 10m
SEED ?= $(shell echo $$RANDOM)
chaos: docker images ## faults at random on a cluster in use, and what was promised checked: make chaos DURATION=30m SEED=7
	@HUKER_REQUIRE_DOCKER=1 HUKER_CHAOS_DURATION=$(DURATION) HUKER_CHAOS_SEED=$(SEED) $(GO) test -count=1 -v -timeout 24h -run 'TestChaos$$' $(ARGS) ./test/chaos

chaos-fleet: docker images ## the same on three hosts, which are lost, hang and are cut off, too: make chaos-fleet DURATION=30m SEED=7
	@scripts/ensure-test-tools
	@HUKER_REQUIRE_DOCKER=1 HUKER_CHAOS_FLEET=1 HUKER_CHAOS_DURATION=$(DURATION) HUKER_CHAOS_SEED=$(SEED) $(GO) test -count=1 -v -timeout 24h -run 'TestChaosOnAFleet$$' $(ARGS) ./test/chaos

lessons: docker images ## what has lost others their data, on clusters of real servers: every scenario, in a quarter of an hour
	@HUKER_REQUIRE_DOCKER=1 HUKER_LESSONS=all $(GO) test -count=1 -v -timeout 60m -run TestLessons $(ARGS) ./test/lessons

bench: docker images ## every benchmark: make bench ARGS='-bench Create'
	@scripts/ensure-test-tools bench
	@HUKER_REQUIRE_DOCKER=1 $(GO) test -run '^$$' -bench . -benchmem -p 1 -timeout 60m $(ARGS) ./...

HOSTS ?= 3
fleet-up: docker images ## several Docker hosts on this machine, for trials: make fleet-up HOSTS=3
	@scripts/ensure-packages nftables
	@$(GO) build -o $(TOOLS)/ ./test/fleet/cmd/fleet
	@$(TOOLS)/fleet up --hosts $(HOSTS) --database-image $(ARGS)

fleet-down: ## remove them, with all that is on them
	@$(GO) build -o $(TOOLS)/ ./test/fleet/cmd/fleet
	@$(TOOLS)/fleet down $(ARGS)

cluster-up: docker build ## a cluster with RabbitMQ, ZooKeeper and MySQL on this host, with Compose, for development
	@scripts/cluster up

cluster-down: build ## stop it; make cluster-down ARGS=--purge removes its data too
	@scripts/cluster down $(ARGS)

test-cluster: docker build ## the tests of that cluster
	@scripts/ensure-packages iptables
	@HUKER_REQUIRE_DOCKER=1 HUKER_E2E_CLUSTER=1 $(GOTEST) -p 1 -timeout 30m $(ARGS) ./test/cluster

lint: tools tidy-check ## gofmt, go vet, golangci-lint, govulncheck, go mod tidy
	@bad=$$(gofmt -l $$(git ls-files '*.go')); if [ -n "$$bad" ]; then echo "gofmt is needed on:"; echo "$$bad"; exit 1; fi
	$(GO) vet ./...
	$(GOLANGCI_LINT) run ./...
	scripts/vulncheck $(GOVULNCHECK)

tidy-check: ## fail when go.mod or go.sum is not what go mod tidy makes of them
	$(GO) mod tidy -diff

tools: $(GOLANGCI_LINT) $(GOVULNCHECK)

# install PACKAGE@VERSION,TARGET: built apart from go.mod, so that a tool's dependencies are not ours.
install = mkdir -p $(TOOLS) && GOBIN=$(TOOLS)/new CGO_ENABLED=0 $(GO) install $(1) && mv $(TOOLS)/new/$(notdir $(firstword $(subst @, ,$(1)))) $(2)

$(GOLANGCI_LINT):
	$(call install,github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_LINT_VERSION),$@)

$(GOVULNCHECK):
	$(call install,golang.org/x/vuln/cmd/govulncheck@$(GOVULNCHECK_VERSION),$@)

clean: ## remove what was built here
	rm -rf bin dist $(CACHE)
