# Fuzzers: clang's libFuzzer over the parts that read what strangers wrote.

FUZZ_SECONDS ?= 5
FUZZ_CC ?= clang
FUZZ_CXX ?= clang++
F := build/fuzz

fuzz_flags := -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all \
	-fno-sanitize=function
# Only what the fuzzers need: the floor's readers and schemas/.
fuzz_sources := $(sort $(foreach unit,arena base64 clock config file hash http_client json levenshtein log map64 \
	metric random status,$(wildcard ops/$(unit)*.c ops/$(unit)*.cpp)) $(wildcard schemas/*.c))
fuzz_objects := $(addprefix $(F)/,$(addsuffix .o,$(basename $(fuzz_sources))))
fuzzers := $(patsubst tests/fuzz/%.c,$(F)/%,$(sort $(wildcard tests/fuzz/fuzz_*.c)))

$(F)/%.o: %.c Makefile tests/fuzz/rules.mk
	@mkdir -p $(@D)
	@echo "  CLANG $<"
	@$(FUZZ_CC) -I. -D_GNU_SOURCE -std=c11 $(fuzz_flags) -fsanitize=fuzzer-no-link -MMD -MP -c -o $@ $<

$(F)/%.o: %.cpp Makefile tests/fuzz/rules.mk
	@mkdir -p $(@D)
	@echo "  CLANG $<"
	@$(FUZZ_CXX) -I. -D_GNU_SOURCE -std=c++17 -fno-rtti $(fuzz_flags) -fsanitize=fuzzer-no-link -MMD -MP -c -o $@ $<

$(F)/libfreshet.a: $(fuzz_objects)
	@rm -f $@
	@ar rcs $@ $(fuzz_objects)

$(fuzzers): $(F)/%: $(F)/tests/fuzz/%.o $(F)/tests/fuzz/fuzz.o $(F)/libfreshet.a
	@$(FUZZ_CC) $(fuzz_flags) -fsanitize=fuzzer -o $@ $^ $(libraries)

.PHONY: fuzz fuzz-smoke
ifneq ($(shell command -v $(firstword $(FUZZ_CC))),)
fuzz: $(fuzzers) ## run every fuzzer for FUZZ_SECONDS=5 each
	@sh tests/fuzz/run.sh $(F) $(FUZZ_SECONDS)
else
fuzz:
	@for f in $(notdir $(fuzzers)); do echo "skipped $$f: no clang"; done
	@echo "0 passed, 0 failed, $(words $(fuzzers)) skipped"
endif

fuzz-smoke: ## the same for 2 seconds each
	@$(MAKE) --no-print-directory fuzz FUZZ_SECONDS=2

.SECONDARY: $(fuzz_objects) $(fuzzers:$(F)/%=$(F)/tests/fuzz/%.o) $(F)/tests/fuzz/fuzz.o
-include $(fuzz_objects:.o=.d)
