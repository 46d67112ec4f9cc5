# freshet's build. Sources are found by folder: adding a file needs no change here.
#   make help says what there is.

SHELL := /bin/bash
.DEFAULT_GOAL := all

ifeq ($(origin CC),default)
CC := gcc
endif
ifeq ($(origin CXX),default)
CXX := g++
endif

# SAN=address,undefined or SAN=thread builds a variant beside the plain one.
SAN ?=
empty :=
comma := ,
variant := $(if $(SAN),san-$(subst $(comma),-,$(SAN)),release)$(if $(CRASH_POINTS),-crash)$(if $(MUTANT),-without-$(MUTANT))
B := build/$(variant)

folders := ops schemas features kernels machine ingest scorer eval retrain
packages := rdkafka hiredis yaml-0.1 libmicrohttpd libcurl libxxhash libsodium zlib avro-c
# oneDNN and simdjson ship no pkg-config file in Debian 12.
# TLS to Redis (features/redis_tls.c), where OpenSSL is there; TLS= builds without.
TLS ?= $(shell pkg-config --exists openssl && echo yes)
packages += $(if $(TLS),openssl)
features_redis_tls_flags = $(if $(TLS),-DFRESHET_TLS)
tests_features_test_redis_tls_flags = $(features_redis_tls_flags)
libraries = $(shell pkg-config --libs $(packages) 2>/dev/null) -lsimdjson -lstdc++ -lm -lpthread

warnings := -Wall -Wextra -Werror -Wshadow -Wpointer-arith -Wformat=2 -Wundef -Wwrite-strings -Wvla
c_warnings := -Wstrict-prototypes -Wmissing-prototypes -Wold-style-definition
hardening := -fstack-protector-strong -fstack-clash-protection -fcf-protection -fPIE
version := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)

CPPFLAGS += -I. -D_GNU_SOURCE
# Named places at which a test kills the process (ingest/crash_point.h).
CPPFLAGS += $(if $(CRASH_POINTS),-DFRESHET_CRASH_POINTS)
# One defence taken away (ops/defence.h).
CPPFLAGS += $(if $(MUTANT),-DWITHOUT_$(MUTANT))
CFLAGS += -std=c11 -g $(warnings) $(c_warnings) $(hardening)
CXXFLAGS += -std=c++17 -g $(warnings) $(hardening) -fno-rtti -fno-exceptions
LDFLAGS += -pie -Wl,-z,relro,-z,now,-z,noexecstack
ifeq ($(SAN),)
CFLAGS += -O2 -ftree-vectorize
CXXFLAGS += -O2
CPPFLAGS += -D_FORTIFY_SOURCE=2
else
CFLAGS += -O1 -fno-omit-frame-pointer -fsanitize=$(SAN) -fno-sanitize-recover=all
CXXFLAGS += -O1 -fno-omit-frame-pointer -fsanitize=$(SAN) -fno-sanitize-recover=all
LDFLAGS += -fsanitize=$(SAN)
endif

sources := $(foreach f,$(folders),$(sort $(wildcard $(f)/*.c $(f)/*.cpp)))
# kernels/x_cpu.c is compiled once for each instruction set; kernels/ops.c picks one at start.
isas := base $(if $(filter x86_64,$(shell uname -m)),v3 v4)
isa_v3 := -march=x86-64-v3
isa_v4 := -march=x86-64-v4 -mprefer-vector-width=512
vector_sources := $(filter kernels/%_cpu.c,$(sources))
objects := $(addprefix $(B)/,$(addsuffix .o,$(basename $(filter-out $(vector_sources),$(sources))))) \
	$(foreach isa,$(isas),$(vector_sources:%.c=$(B)/%.$(isa).o))
main_object := $(if $(wildcard freshet.c),$(B)/freshet.o)
# Unit tests mirror the folders; tests/support holds what several of them share.
test_sources := tests/runner.c $(sort $(foreach f,$(folders) support,$(wildcard tests/$(f)/*.c)))
test_objects := $(addprefix $(B)/,$(test_sources:.c=.o))
# Every tests/bench/bench_x.c is a program of its own; so is every tests/fuzz/fuzz_x.c (clang).
benches := $(patsubst tests/bench/%.c,$(B)/bench/%,$(wildcard tests/bench/bench_*.c))
bench_shared := $(patsubst %.c,$(B)/%.o,$(filter-out $(wildcard tests/bench/bench_*.c),$(wildcard tests/bench/*.c)))
.SECONDARY: $(bench_shared)

.PHONY: all
all: $(if $(main_object),$(B)/freshet) ## build the program: build/release/freshet
	@[ -n "$(SAN)" ] || [ ! -e $(B)/freshet ] || ln -sfn release/freshet build/freshet

$(B)/libfreshet.a: $(objects)
	@rm -f $@
	@ar rcs $@ $(objects)

$(B)/freshet: $(main_object) $(B)/libfreshet.a
	@echo "  LINK  $@"
	@$(CC) $(LDFLAGS) -o $@ $(main_object) $(B)/libfreshet.a $(libraries)

$(B)/tests/run: $(test_objects) $(B)/libfreshet.a
	@echo "  LINK  $@"
	@$(CC) $(LDFLAGS) -o $@ $(test_objects) $(B)/libfreshet.a $(libraries)

$(B)/bench/%: $(B)/tests/bench/%.o $(bench_shared) $(B)/libfreshet.a
	@mkdir -p $(@D)
	@echo "  LINK  $@"
	@$(CC) $(LDFLAGS) -o $@ $< $(bench_shared) $(B)/libfreshet.a $(libraries)

$(B)/%.o: %.c Makefile
	@mkdir -p $(@D)
	@echo "  CC    $<"
	@$(CC) $(CPPFLAGS) $(CFLAGS) $($(subst /,_,$*)_flags) -MMD -MP -c -o $@ $<

$(B)/%.o: %.cpp Makefile
	@mkdir -p $(@D)
	@echo "  CXX   $<"
	@$(CXX) $(CPPFLAGS) $(CXXFLAGS) -MMD -MP -c -o $@ $<

# Only the file that prints the version is rebuilt when it changes: the stamp moves with it.
ops_version_flags = -DFRESHET_VERSION='"$(version)"' \
	-DFRESHET_LIBRARIES='"$(shell CC="$(CC)" sh ops/deploy/libraries.sh $(packages))"'
$(shell mkdir -p $(B); echo "$(version)" | cmp -s - $(B)/version || echo "$(version)" > $(B)/version)
$(B)/ops/version.o: $(B)/version
# The assembler takes these in, which the compiler's list of dependencies does not know.
$(B)/ops/runbook.o: $(wildcard ops/runbooks/*.md)

# What runs on the CPU in kernels/ may fuse and reorder: tolerances are stated in the headers.
define isa_rule
$(B)/kernels/%_cpu.$(1).o: kernels/%_cpu.c Makefile
	@mkdir -p $$(@D)
	@echo "  CC    $$< ($(1))"
	@$$(CC) $$(CPPFLAGS) $$(CFLAGS) -O3 -fno-math-errno -fno-trapping-math -ffp-contract=off \
		$$(isa_$(1)) -DCPU_ISA=$(1) -MMD -MP -c -o $$@ $$<
endef
$(foreach isa,$(isas),$(eval $(call isa_rule,$(isa))))

.PHONY: unit
unit: $(B)/tests/run ## run the unit tests alone; T="part of a name" picks some
	@$(B)/tests/run --jobs=$(shell expr 2 \* $$(nproc)) $(T)

# What is installed where that is allowed; quick when all is there.
.PHONY: deps
deps: ## install missing Debian packages, or print the command that does
	@bash ops/deploy/deps.sh build test

.PHONY: test
test: ## everything: units, sanitizers, lint, integration, a real Kafka; STAGES="lint unit" picks some
	@bash tests/run_all.sh $(STAGES)

# ---- lint: each check is one "passed" or "failed" ----

tidy_stamps := $(patsubst %,$(B)/tidy/%.ok,$(sources) $(wildcard freshet.c))
.PHONY: lint layers words format tidy
lint: ## layout, layers, forbidden words, clang-tidy
	@passed=0; failed=0; for check in format layers words tidy; do \
		if $(MAKE) -k --no-print-directory $(if $(findstring j,$(firstword -$(MAKEFLAGS))),,-j$$(nproc)) $$check; \
		then passed=$$((passed + 1)); else failed=$$((failed + 1)); fi; done; \
	echo "$$passed passed, $$failed failed, 0 skipped"; [ $$failed = 0 ]
layers:
	@sh ops/check_layers.sh
words:
	@sh ops/check_words.sh
format:
	@git ls-files -z -- '*.c' '*.h' '*.cpp' '*.cu' | xargs -0 clang-format --dry-run -Werror && echo "format: ok"
tidy: $(tidy_stamps)
	@echo "tidy: ok"
# Nodes of the analyzer's graph a function; its default, 225000, takes three times as long.
TIDY_NODES ?= 60000
tidy_flags := -Xclang -analyzer-config -Xclang max-nodes=$(TIDY_NODES)
# The object is rebuilt when a header changes, and with it the verdict.
$(B)/tidy/%.c.ok: %.c $(B)/%.o .clang-tidy
	@mkdir -p $(@D)
	@echo "  TIDY  $<"
	@clang-tidy --quiet $< -- -std=c11 $(CPPFLAGS) $(tidy_flags) 2>$@.log || { cat $@.log; exit 1; }
	@touch $@
$(B)/tidy/%.cpp.ok: %.cpp $(B)/%.o .clang-tidy
	@mkdir -p $(@D)
	@echo "  TIDY  $<"
	@clang-tidy --quiet $< -- -std=c++17 $(CPPFLAGS) $(tidy_flags) 2>$@.log || { cat $@.log; exit 1; }
	@touch $@

# A folder's own targets (bench, demo, simulate, fuzz, soak, ...) are in its rules.mk, with ##
# and a line of help each. `make test` runs `simulate SEEDS=n` and `fuzz-smoke` when they exist.
include $(wildcard */rules.mk tests/*/rules.mk)

.PHONY: clean
clean: ## remove build/
	rm -rf build

.PHONY: help
help: ## this list
	@grep -hE '^[a-z_-]+:.*## ' $(filter-out %.d,$(MAKEFILE_LIST)) | LC_ALL=C sort -t : -k 1,1 | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

-include $(objects:.o=.d) $(test_objects:.o=.d) $(benches:$(B)/bench/%=$(B)/tests/bench/%.d) \
         $(addprefix $(B)/tests/bench/,figure.d golden.d testbed.d)
