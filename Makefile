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
# Linking is faster without debuggers' tables, and what has found no race need not sleep at its end.
RACE = GORACE=atexit_sleep_ms=0 $(GO) test -race -ldflags=-w -timeout 25m

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
	@# Tests against real systems mostly wait for them.
	$(RACE) -p 6 $$($(GO) list ./... | grep -E '$(TARGETS)')
	$(RACE) -p 3 $$($(GO) list ./... | grep -vE '$(TARGETS)')
	@# The race detector allocates for itself, and finds the races of the ACME server that the tests start: these skip under it.
	$(GO) test -run Allocations ./internal/...
	$(GO) test ./internal/issuer/acme
	$(GO) test -run ACME ./internal/server
	$(GO) vet -tags pkcs11 ./internal/token/... ./internal/server
	$(GO) test -race -tags pkcs11 ./internal/token/...
	$(GO) test -tags pkcs11 -run TokenBehindTheAPI ./internal/server

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
