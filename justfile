# The tasks of the project; `./just` without a name lists them.

set shell := ["bash", "-euo", "pipefail", "-c"]

[private]
default:
    @./just --list

# Build ./scrier
build:
    CGO_ENABLED=0 go build -trimpath -o scrier .

# A relay, an agent and an operator on loopback, until Ctrl-C; --check opens a session by itself
demo *args: build
    ./scripts/demo {{ args }}

# Install what the tests need (as root), then run all of them
test *args: parts lint
    go test -race -shuffle=on -timeout 20m {{ args }} ./...

# Install the real parts that the tests run against, or say which are missing
parts:
    ./scripts/parts

# Formatting, vet and staticcheck
lint:
    test -z "$(gofmt -l . | tee /dev/stderr)"
    go vet ./...
    go tool staticcheck ./...

# Fuzz every target for a while
fuzz time="60s":
    ./scripts/fuzz {{ time }}

# The table of docs/performance.md: ratios against plain ssh and a bare splice (root, ../shared/netem)
bench *args: parts
    ./scripts/bench {{ args }}
