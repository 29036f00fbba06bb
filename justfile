# The tasks of the project; `./just` without a name lists them.

set shell := ["bash", "-euo", "pipefail", "-c"]

[private]
default:
    @./just --list

# Build ./scrier, with the pages in it
build: web
    CGO_ENABLED=0 go build -trimpath -buildvcs=auto -o scrier .

# Build ./scrier-agent, which has the agent alone: for machines, where it is called scrier too
agent:
    CGO_ENABLED=0 go build -trimpath -buildvcs=auto -tags agentonly -ldflags '-s -w' -o scrier-agent .

# Build the pages, static/dist
web:
    cd static && { cmp -s package-lock.json node_modules/.locked || { npm ci --ignore-scripts --no-audit --no-fund && cp package-lock.json node_modules/.locked; }; }
    cd static && node build.mjs

# A relay, an agent and an operator on loopback, until Ctrl-C; --check opens a session by itself
demo *args: build
    ./scripts/demo {{ args }}

# Install what the tests need (as root), then run all of them; screens, 2,000 agents and stories by themselves, as they keep the machine busy
test *args: parts web lint
    go test -race -shuffle=on -timeout 20m {{ args }} $(go list ./... | grep -v -e /agent/console$ -e /bench$ -e /stories$)
    go test -race -timeout 20m {{ args }} ./agent/console
    go test -race -shuffle=on -timeout 20m {{ args }} ./bench
    go test -race -shuffle=on -timeout 40m {{ args }} ./stories

# Install the real parts that the tests run against, or say which are missing
parts:
    ./scripts/parts

# Formatting, vet and staticcheck; types and tests of the pages' own code
lint: web
    test -z "$(gofmt -l . | tee /dev/stderr)"
    go vet ./...
    go vet -tags agentonly ./...
    go tool staticcheck ./...
    go tool staticcheck -tags agentonly ./...
    cd static && npx --no-install tsc --noEmit
    cd static && node test/run.mjs

# The pictures of the pages in docs/images
screenshots: parts web
    SCREENSHOTS="$PWD/docs/images" go test -count=1 -run 'TestScript/web_screenshots$' ./stories

# Fuzz every target for a while
fuzz time="60s":
    ./scripts/fuzz {{ time }}

# The tables of docs/performance.md: ratios against plain ssh, a bare splice and a bare page on guacd (root, ../shared/netem)
bench *args: parts web
    ./scripts/bench {{ args }}

# The table of docs/reliability.md: strangers flood a relay from two networks
flood *args:
    ./scripts/flood {{ args }}
