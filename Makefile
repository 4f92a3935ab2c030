# What can be made here. Bare make prints this list.
#
#   make demo      the story in two minutes: a vault, an application, a password that changes under it
#   make test      every test, with the race detector where it can be; installs what it needs where it may
#   make check     the quick part of the tests, for before a commit
#   make build     bin/keywright
#   make release   bin/release: a reproducible build with its bill of materials; VERSION names it
#   make fips      bin/keywright-fips: the same product in the FIPS 140-3 mode of its cryptographic module
#   make lint      gofmt, go vet, staticcheck
#   make bench     ratios against bare ceilings, in one run; also writes bin/bench.json
#   make fuzz      every fuzz target for FUZZTIME (10s)
#   make verify    module files, generated files and documents are what their sources give
#   make soak      the long versions of the durability and load tests; PART=name runs one

SHELL := /bin/sh
GO ?= go
FUZZTIME ?= 10s
PART ?= all
# packages whose tests start real databases, brokers and directories: not for the quick part
TARGETS := /internal/rotator/[a-z]+$$|/internal/store/postgres$$|/client/(amqp|pgxpool|redispool|sqlpool)$$
# What the race detector need not watch: SQLite as it was translated from C keeps everything in memory of its own, which is none of Go's and which the detector
# ignores, after having been called for each access (four fifths of the time of tests that use the store); the arithmetic of RSA shares nothing.
UNWATCHED := modernc.org/sqlite/lib modernc.org/libc modernc.org/memory crypto/internal/fips140/bigmod
RACEFLAGS := -race -ldflags=-w $(UNWATCHED:%=-gcflags=%=-race=false)
# Linking is faster without debuggers' tables, what has found no race need not sleep at its end, and make lint vets everything.
RACE = GORACE=atexit_sleep_ms=0 KEYWRIGHT_RACEFLAGS='$(RACEFLAGS)' $(GO) test $(RACEFLAGS) -vet=off -timeout 25m
# The packages that take longest begin first, so that none of them is left alone at the end. Half of the tests wait for databases and brokers: hence twice as
# many packages at once as there are processors in CI.
SLOW := internal/rotation e2e/rotation e2e/durability e2e/clients internal/server docs internal/cert internal/rotator/postgres internal/rotator/nats \
	internal/store/sqlite cmd/keywright internal/rotator/mysql internal/store/postgres demo e2e/mutants internal/identity
# One way of compiling for everything, be it vetted, tested or released: nothing is compiled twice because of the paths in it.
export GOFLAGS := $(strip $(GOFLAGS) -trimpath)

.DEFAULT_GOAL := help
.PHONY: help demo test check build release fips lint bench fuzz verify soak

help:
	@sed -n 's/^#   //p' Makefile

build:
	$(GO) build -trimpath -o bin/keywright ./cmd/keywright

release:
	GO=$(GO) scripts/release bin/release

fips:
	GOFIPS140=latest $(GO) build -trimpath -o bin/keywright-fips ./cmd/keywright
	bin/keywright-fips version

demo: build
	scripts/deps demo
	$(GO) run -trimpath ./demo -keywright "$(CURDIR)/bin/keywright"

test: build
	scripts/deps test
	$(RACE) -p 4 $(SLOW:%=./%) ./...
	@# The race detector allocates for itself, and finds the races of the ACME server that the tests start: these skip under it.
	$(GO) test -vet=off -run Allocations $$(grep -rl --include='*_test.go' '^func TestAllocations' internal | xargs -n 1 dirname | sort -u | sed 's,^,./,')
	$(GO) test -vet=off ./internal/issuer/acme
	$(GO) test -vet=off -run ACME ./internal/server
	$(GO) vet -tags pkcs11 ./internal/token/... ./internal/server
	$(RACE) -tags pkcs11 ./internal/token/...
	$(GO) test -vet=off -tags pkcs11 -run TokenBehindTheAPI ./internal/server

check:
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { echo "run gofmt on:"; gofmt -l $$(git ls-files '*.go'); exit 1; }
	$(GO) vet ./...
	$(GO) test -short -timeout 3m $$($(GO) list ./internal/... ./client/... ./cmd/... ./docs | grep -vE '$(TARGETS)')

lint:
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { echo "run gofmt on:"; gofmt -l $$(git ls-files '*.go'); exit 1; }
	$(GO) vet ./...
	$(GO) tool staticcheck ./...

bench: build
	$(GO) run ./bench -out bin/bench.json

fuzz:
	GO=$(GO) scripts/fuzz $(FUZZTIME)

verify:
	GO=$(GO) scripts/verify

soak: build
	GO=$(GO) scripts/soak $(PART)
