# The tasks of this repository. `make` alone lists the targets.
# The first `make demo` or `make test` downloads a Kubernetes API server or builds it from its Go module, once; a build takes minutes.

CARGO ?= cargo

.DEFAULT_GOAL := help
.PHONY: help build image test-image release deny lint-packaging test test-aws test-openstack test-cloud-init test-machine test-upgrade demo demo-install model chaos chaos-arvados bench bench-health bench-scale bench-simulate bench-sizing play-trace play-crowd check-cost fmt lint crds deploy \
	generated check-generated ci

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## Build all programs, optimised, in target/release: bullpen, kubectl-bullpen, bullpen-simcloud, bullpen-demo
	$(CARGO) build --release

# The default is ARCH="amd64 arm64".
image: ## Make the images, for amd64 and arm64 (ARCH=amd64 for one), as OCI tarballs in target/image; no container engine
	tools/packaging/image.sh $(ARCH)

test-image: ## Test the images that `make image` made: their content, their binaries, and podman running them
	$(CARGO) test --test image -- --ignored

release: ## Make all files of a release in dist/ (SOURCE_URL=https://..., the repository's address)
	tools/packaging/release.sh

deny: ## Check dependencies: licences, bans, sources, and advisories where those can be had
	tools/packaging/deny.sh

test: ## Run all tests: plans, the model of the claim protocol, and walks on a real API server
	@tools/faketime.sh
	$(CARGO) test --workspace --exclude bullpen-ec2 --exclude bullpen-openstack

# With the feature `aws`, which nothing else compiles. Installs moto and microburst with pip, once.
test-aws: ## Test the provider aws against a server that speaks EC2's API, behind a proxy that makes calls fail
	@tools/ec2/install.sh >/dev/null
	$(CARGO) test -p bullpen-ec2
	$(CARGO) test --features aws,openstack --lib provider::
	$(CARGO) test --features aws,openstack --test cluster aws::

# With the feature `openstack`, which nothing else compiles. Installs OpenStack's services with pip, once; mariadb and rabbitmq are the system's.
# The walks share one cloud, which needs both cores: one at a time.
test-openstack: ## Test the provider openstack against the real services of OpenStack with a hypervisor that runs nothing
	@tools/openstack/install.sh >/dev/null
	$(CARGO) test -p bullpen-openstack
	$(CARGO) test --features aws,openstack --lib provider::
	$(CARGO) test --features aws,openstack --test cluster openstack:: -- --test-threads=1

# Not part of `make test`: it needs root and Debian 12, and boots some twenty machines.
test-cloud-init: ## Have a real cloud-init run user data with Bullpen's additions, in namespaces (on Debian 12, as root)
	@tools/cloud-init.sh >/dev/null
	$(CARGO) test -p bullpen-plan --test cloud_init -- --ignored

# Not part of `make ci`: it builds an image of 600 MB once, and boots machines for five minutes. One walk at a time, because each needs a core.
test-machine: ## Have real machines bought, claimed, logged in to, reset, stopped and ended, under QEMU without KVM (on Debian, as root)
	@tools/machine/image.sh >/dev/null
	$(CARGO) test --test cluster machine:: -- --ignored --nocapture --test-threads=1

# BULLPEN_UPGRADE_FROM: any revision. Default: the newest tag before this commit, or else the last commit with another program.
test-upgrade: ## Upgrade a live fleet from an earlier version to this one and back (BULLPEN_UPGRADE_FROM=v0.1.0)
	CARGO="$(CARGO)" bash .ci/upgrade

# In two steps, so that a first build shows its progress, and a later one prints almost nothing.
demo: ## Watch a pool warm up and hand out machines; stays up until Ctrl-C (ARGS=--exit: the walk alone)
	@$(CARGO) build --bins
	@$(CARGO) run --quiet --bin bullpen-demo -- $(ARGS)

demo-install: ## Watch Helm install, upgrade and uninstall it on a real API server, with each command and its output
	@$(CARGO) test --test cluster install::walk_helm -- --nocapture --test-threads=1

model: ## Explore the claim protocol in its largest configuration, which takes longer than a test may
	BULLPEN_MODEL=full $(CARGO) test --test claim_model -- --nocapture

# All random choices come from SEED; FAULTS is in percent of calls and machines. TIMELINE=1 writes a timeline even without violations.
chaos: ## Claim from a pool in chaos for minutes, by chance (CLAIMS=1000 SEED=1 FAULTS=10), and check every promise; PROVIDER=aws or openstack: against that cloud
ifeq ($(PROVIDER),aws)
	@tools/ec2/install.sh >/dev/null
	BULLPEN_CHAOS_CLAIMS=$(CLAIMS) BULLPEN_CHAOS_SEED=$(SEED) $(CARGO) test --features aws --test cluster aws::storm::two_hundred -- --ignored --nocapture
else ifeq ($(PROVIDER),openstack)
	@tools/openstack/install.sh >/dev/null
	BULLPEN_CHAOS_CLAIMS=$(CLAIMS) BULLPEN_CHAOS_SEED=$(SEED) $(CARGO) test --features openstack --test cluster openstack::storm:: -- --ignored --nocapture --test-threads=1
else
	@tools/faketime.sh
	BULLPEN_CHAOS_CLAIMS=$(CLAIMS) BULLPEN_CHAOS_SEED=$(SEED) BULLPEN_CHAOS_FAULTS=$(FAULTS) BULLPEN_CHAOS_TIMELINE=$(TIMELINE) \
	$(CARGO) test --test cluster chaos::long_chaos -- --ignored --nocapture
endif

chaos-arvados: ## Have two hundred jobs done on ten machines that fail in every way (CLAIMS=200 SEED=1)
	BULLPEN_CHAOS_CLAIMS=$(CLAIMS) BULLPEN_CHAOS_SEED=$(SEED) BULLPEN_CHAOS_TIMELINE=$(TIMELINE) \
	$(CARGO) test --test cluster arvados_two_hundred -- --ignored --nocapture

bench: ## Measure the claim path against a bare client on the same API server: bursts, a steady load, a failover (ARGS='--quick')
	$(CARGO) bench --bench claims -- $(ARGS)

# Only the API server is measured, so a build for tests will do.
check-cost: ## Fail if a claim costs the API server more than was committed: `make bench ARGS='--only cost'` in short, a minute or two
	$(CARGO) test --bench claims -- --only cost --quick --check

bench-health: ## Measure what probes and heartbeats of 10,000 machines cost the operator, and the endpoint that machines call: two minutes
	$(CARGO) test --release --lib -- ten_thousand_machines measures_how_many_requests --ignored --nocapture --test-threads=1

bench-scale: ## Measure large fleets and queues on a real API server: memory, idle cost, restarts, claims beside them (ARGS='--only crowd')
	$(CARGO) bench --bench scale -- $(ARGS)

bench-simulate: ## Measure how long 100,000 claims take bullpen simulate on one core: at most 10 s
	$(CARGO) bench -p bullpen-simulate --bench claims

bench-sizing: ## Compare autosize with other policies, on the CSV files of a folder (TRACES=DIR) or drawn claims: minutes. OUT=DIR gets a page with drawings
	TRACES="$(abspath $(TRACES))" OUT="$(abspath $(OUT))" $(CARGO) bench -p bullpen-simulate --bench sizing

play-trace: ## Play a trace against a pool that sizes itself, so many times as fast (TRACE=FILE HOURS=24 SPEED=60): HOURS / SPEED
	TRACE="$(abspath $(TRACE))" HOURS="$(HOURS)" SPEED="$(SPEED)" $(CARGO) test --test cluster a_day_of_a_trace -- --ignored --nocapture

play-crowd: ## Play 2,000 claims in two minutes against a pool that sizes itself; prints the processor time for each
	$(CARGO) test --test cluster a_crowd_of_claims -- --ignored --nocapture

fmt: ## Format the code
	$(CARGO) fmt

lint: ## Check the format and run clippy, with warnings as errors
	$(CARGO) fmt --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings

lint-packaging: ## Check the shell scripts, the workflows and the Go programs
	shellcheck .ci/run .ci/upgrade tools/*.sh tools/ec2/*.sh tools/machine/*.sh tools/openstack/*.sh tools/packaging/*.sh examples/runner/*.sh crates/plan/tests/cloud_init/*.sh tests/simcloud/*.sh
	"$$(tools/packaging/tool.sh actionlint)"
	cd tools/object-health && test -z "$$(gofmt -l .)" && go vet ./...

crds: ## Write crds/, and the chart's copy of it, anew from the types in crates/api
	$(CARGO) run --quiet -- crds --output crds
	cp crds/*.yaml charts/bullpen/files/crds/

deploy: ## Write deploy/ and the snapshots of the chart's renderings anew from charts/bullpen
	BULLPEN_WRITE_GENERATED=1 $(CARGO) test --quiet --test packaging generated:: -- --test-threads=1

generated: crds deploy ## Write all generated files anew

# All of crds/ is generated, so an additional file is drift as well.
check-generated: ## Fail if crds/ does not match the types in crates/api, or deploy/ the chart
	@made=$$(mktemp -d) && trap 'rm -rf "$$made"' EXIT && \
	$(CARGO) run --quiet -- crds --output "$$made" && \
	diff -ru crds "$$made" && diff -ru crds charts/bullpen/files/crds || \
	{ echo 'the definitions are stale: run `make generated` and commit what it wrote' >&2; exit 1; }
	@$(CARGO) test --quiet --test packaging generated::

ci: ## Everything that a change has to pass, as CI runs it
	bash .ci/run
