# tests/wide/rules.mk - the column v4 of kernels/ on a machine without AVX-512.
#
# kernels/x_cpu.c are compiled for AVX2 behind tests/wide/avx512.h, and kernels/ops.c believes that
# the machine has it all; the rest is the plain build's. The kernels' own tests then run over it.

W := build/wide$(if $(SAN),-$(variant))
wide_vector := $(patsubst kernels/%.c,$(W)/%.o,$(vector_sources))
wide_flags := -march=x86-64-v3 -include tests/wide/avx512.h -Wno-psabi -Wno-unused-function

$(W)/%_cpu.o: kernels/%_cpu.c tests/wide/avx512.h tests/wide/rules.mk
	@mkdir -p $(@D)
	@echo "  CC    $< (wide)"
	@$(CC) $(CPPFLAGS) $(CFLAGS) -O2 -fno-math-errno -fno-trapping-math -ffp-contract=off $(wide_flags) \
		-DCPU_ISA=v4 -MMD -MP -c -o $@ $<

$(W)/ops.o $(W)/linear_bf16.o: $(W)/%.o: kernels/%.c tests/wide/rules.mk
	@mkdir -p $(@D)
	@echo "  CC    $< (wide)"
	@$(CC) $(CPPFLAGS) $(CFLAGS) -include tests/wide/machine.h -MMD -MP -c -o $@ $<

# Our objects come before the library's.
$(W)/run: $(wide_vector) $(W)/ops.o $(W)/linear_bf16.o $(test_objects) $(B)/libfreshet.a
	@echo "  LINK  $@"
	@$(CC) $(LDFLAGS) -o $@ $(wide_vector) $(W)/ops.o $(W)/linear_bf16.o $(test_objects) $(B)/libfreshet.a $(libraries)

.PHONY: unit-wide
unit-wide: $(W)/run ## the kernels' tests over their AVX-512 column, its instructions in software (AVX2 suffices)
	@if grep -qw avx2 /proc/cpuinfo; then FRESHET_ISA= $(W)/run --jobs=$$(nproc) $(or $(T),attention_ embed_ head_scores linear_ next_loss next_scores next_top top_ norm_ gate_follows squares_sum adamw_ adagrad_ model_cached model_scores model_folded model_rounded model_other); \
	else echo "0 passed, 0 failed, 0 skipped"; fi

-include $(wide_vector:.o=.d) $(W)/ops.d $(W)/linear_bf16.d
