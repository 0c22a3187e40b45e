# One set of build settings for build and test, so that a plain `go test` by hand finds the same cache.
export CGO_ENABLED := 0
# Nothing is compiled in another way by this: programs and tests are linked without tables for debuggers, which takes half the time.
export GOFLAGS := $(strip -ldflags=-w $(GOFLAGS))
GO        ?= go
BIN       := bin
# Packages that are tested at once: one more than there are processors, because the long ones wait more than they compute.
TOGETHER  ?= $(shell echo $$(( $$(getconf _NPROCESSORS_ONLN) + 1 )))
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.7.0

.DEFAULT_GOAL := help
.PHONY: help build demo test explore race bench conformance gateway-conformance lint rehearse-debug clean

help: ## show this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: $(BIN)/fairway $(BIN)/fairway-rehearse ## build bin/fairway and bin/fairway-rehearse (a first build compiles Kubernetes twice: about 10 minutes on 2 cores)

SOURCES := $(shell find api cmd config internal -name '*.go' -not -name '*_test.go' 2>/dev/null) $(shell find internal config -type f \( -name '*.yaml' -o -name '*.csv' -o -name '*.js' -o -name '*.css' -o -name '*.json' \) 2>/dev/null) go.mod go.sum

$(BIN)/fairway: $(SOURCES)
	@echo "== building bin/fairway (the first time compiles Kubernetes: 4 to 6 minutes on 2 cores)"
	@mkdir -p $(BIN)
	$(GO) build -o $@ ./cmd/fairway

$(BIN)/fairway-rehearse: $(BIN)/fairway
	@echo "== building bin/fairway-rehearse, linked with a virtual clock (the first time compiles Kubernetes once more)"
	$(BIN)/fairway rehearse build -o $@

demo: build ## rehearse examples/shop (a day, a release, a lost zone) and examples/canary (a good and a bad release behind a Gateway); writes shop.html and canary.html
	@echo "== rehearsing a day of examples/shop, three times: chance has a part in it"
	$(BIN)/fairway rehearse examples/shop --seeds 3 --html shop.html --json shop.json || test $$? -eq 1
	@echo
	@echo "== rehearsing examples/canary: a release that fails 2 % of its requests, then a good one"
	$(BIN)/fairway rehearse examples/canary --timeline --html canary.html
	@echo "== the whole reports are in shop.html and canary.html: open them in a browser"

# With GOGC: a fifth of what linkers and clusters that live for seconds do would be collecting garbage.
test: lint build ## vet, staticcheck, and every test; property tests draw the same each time
	@echo "== testing (packages that start a control plane take about a minute each to link the first time)"
	GOGC=$${GOGC:-200} RAPID_SEED=1 $(GO) test -p $(TOGETHER) -timeout 20m ./test/... ./... # the longest first

explore: build ## property tests with new draws and many more of them, and more seeds of test/simulate (CHECKS, FAIRWAY_SEEDS): what it finds becomes a table test
	@for p in $$($(GO) list -f '{{range .TestImports}}{{if eq . "pgregory.net/rapid"}}{{$$.ImportPath}}{{end}}{{end}}' ./...); do \
		echo "== $$p"; RAPID_CHECKS=$${CHECKS:-2000} $(GO) test -count=1 -timeout 60m $$p || exit 1; done
	@echo "== ./test/simulate"; FAIRWAY_SEEDS=$${FAIRWAY_SEEDS:-12} $(GO) test -count=1 -timeout 60m ./test/simulate

race: ## the tests of our own packages with the race detector (needs a C compiler; compiles everything once more)
	CGO_ENABLED=1 $(GO) test -race -timeout 40m ./api/... ./internal/rehearse/... ./internal/kube/... ./internal/scale/... ./internal/ship/...

lint: ## go vet, gofmt, staticcheck
	@echo "== checking"
	@test -z "$$(gofmt -l api cmd config internal test bench 2>/dev/null)" || { echo "not gofmt-formatted:"; gofmt -l api cmd config internal test bench; exit 1; }
	$(GO) vet ./...
	$(GO) run $(STATICCHECK) ./...

bench: build ## start-up, memory, API writes, pods a second and rehearsal speed, beside a plain kube-apiserver + etcd
	$(GO) run ./bench

conformance: ## Kubernetes' own conformance tests against fairway up (apart from test; 35 to 40 minutes)
	$(GO) run ./test/conformance

gateway-conformance: $(BIN)/fairway ## the Gateway API's own conformance tests against fairway up (apart from test; a minute; may listen on port 80)
	$(GO) test -C test/gatewayconformance -count=1 -timeout 30m -args -fairway $(CURDIR)/$(BIN)/fairway $(ARGS)

rehearse-debug: $(BIN)/fairway ## build bin/fairway-rehearse-debug, which records every scheduling decision
	$(BIN)/fairway rehearse build --schedlog -o $(BIN)/fairway-rehearse-debug

clean: ## remove what was built here (the build cache stays)
	rm -rf $(BIN) shop.html shop.json canary.html
