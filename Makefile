# Two commands do all set-up on a fresh machine:
#   go run ./cmd/twofold serve    the server
#   make check                    installs what the checks need, then runs them all

.PHONY: build test check setup lint e2e fuzz clean

# One static binary.
build:
	CGO_ENABLED=0 go build -trimpath -o bin/twofold ./cmd/twofold

# The inner loop: no race detector, no foreign clients, nothing to install.
test:
	go vet ./...
	go test -short -timeout 2m ./...

# Everything, with a time budget for each part; this is what CI runs.
check:
	@scripts/check

# The parts of check, by themselves.
setup:
	scripts/setup
lint: setup
	bin/golangci-lint run ./...
e2e: setup
	e2e/run
fuzz:
	scripts/fuzz

clean:
	rm -rf bin .cache e2e/node/node_modules

-include bench/bench.mk
