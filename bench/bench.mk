# Benchmarks and long checks; see docs/benchmarks.md. Included by the Makefile.

.PHONY: bench-server bench-ingest bench-history bench-telemetry bench-commands bench-jobs bench-models bench-fleet bench-memory bench-predict kill-smoke kill-control long-kill

BENCH_SECONDS ?= 30
BUDGET ?= 30m

bench-server:
	CGO_ENABLED=0 go build -o bin/twofold ./cmd/twofold

bench-ingest: bench-server
	go run ./bench/ingest -server bin/twofold -seconds $(BENCH_SECONDS)

# What the past costs, beside PostgreSQL 15 and SQLite; CGO_ENABLED=0 as the binary has it.
bench-history: bench-server
	CGO_ENABLED=0 go run ./bench/history -server bin/twofold $(HISTORY)
	@go test ./internal/proof -count=1 -run TestVerify_tampered -alterations 10000 -v | grep -E 'alterations,|^(ok|FAIL)'
	@go test ./internal/store/pebblestore -count=1 -run TestBitFlips -flips 500 -v | grep -E 'same answers|^(ok|FAIL)'

# What samples cost, beside PostgreSQL 15.
bench-telemetry: bench-server
	CGO_ENABLED=0 go run ./bench/telemetry -server bin/twofold $(TELEMETRY)

bench-commands: bench-server
	go run ./bench/commands -server bin/twofold -seconds $(BENCH_SECONDS)

# A job to 10,000 things in waves, with a kill -9 half way.
bench-jobs: bench-server
	go run ./bench/jobs -server bin/twofold

# What a model costs an update, beside a server without one.
bench-models: bench-server
	go run ./bench/models -server bin/twofold

# Queries over all twins, beside plain interpretation; memory of the index.
bench-fleet: bench-server
	CGO_ENABLED=0 go run ./bench/fleet $(FLEET)

bench-memory: bench-server
	go run ./bench/memory -server bin/twofold

# The kill check in a minute, for each submission.
kill-smoke: bench-server
	go run ./bench/kill -server bin/twofold -cycles 20 -budget 50s -kill-max 1s

# The kill check with faults planted in itself, which it has to find.
kill-control: bench-server
	go run ./bench/kill -server bin/twofold -cycles 10 -budget 30s -kill-max 1s -plant early-ack
	go run ./bench/kill -server bin/twofold -cycles 10 -budget 30s -kill-max 1s -plant fresh-resend

long-kill: bench-server
	go run ./bench/kill -server bin/twofold -budget $(BUDGET) -ledger evidence/ledger.jsonl

# The anomaly score on public data, which is no part of the repository; skipped where it is not.
bench-predict:
	go run ./bench/predict -data ../shared/data
