# Benchmarks and long checks; see docs/benchmarks.md. Included by the Makefile.

.PHONY: bench-ingest bench-memory bench-server long-kill

BENCH_SECONDS ?= 30
BUDGET ?= 30m

bench-server:
	CGO_ENABLED=0 go build -o bin/twofold ./cmd/twofold

bench-ingest: bench-server
	go run ./bench/ingest -server bin/twofold -seconds $(BENCH_SECONDS)

bench-memory: bench-server
	go run ./bench/memory -server bin/twofold

long-kill: bench-server
	go run ./bench/kill -server bin/twofold -budget $(BUDGET) -ledger evidence/ledger.jsonl
