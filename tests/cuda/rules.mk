# tests/cuda/rules.mk - tests and times of kernels/cuda on a device, with NVIDIA's headers, runtime and
# cuBLAS. The same tests on a CPU: tests/cuemu/rules.mk.

GPU := build/gpu
gpu_objects := $(patsubst %.c,$(GPU)/%.o,$(filter-out %/bench_gpu.c,$(wildcard tests/cuda/*.c)))
gpu_shared := $(addprefix $(B)/tests/,runner.o kernels/caches.o kernels/jagged.o)
$(GPU)/%.o: %.c Makefile tests/cuda/rules.mk
	@mkdir -p $(@D)
	@echo "  CC    $< (gpu)"
	@$(CC) -isystem $(CUDA)/include $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

$(GPU)/run: $(gpu_objects) $(gpu_shared) $(B)/libfreshet.a
	@echo "  LINK  $@"
	@$(CC) $(LDFLAGS) -o $@ $(gpu_objects) $(gpu_shared) $(B)/libfreshet.a $(libraries)

$(GPU)/bench: $(GPU)/tests/cuda/bench_gpu.o $(B)/libfreshet.a
	@echo "  LINK  $@"
	@$(CC) $(LDFLAGS) -o $@ $^ $(libraries)

.PHONY: test-gpu bench-gpu
ifneq ($(CUDA),)
bench-gpu: $(GPU)/bench ## times of the kernels, requests and steps on a real GPU, beside cuBLAS alone
	@$(GPU)/bench $(if $(JSON),--json=$(JSON))
test-gpu: $(GPU)/run ## the kernels' tests on a real GPU, under compute-sanitizer where it is
	@bash tests/cuda/gpu.sh $(GPU)/run $(wildcard $(CUDA)/bin/compute-sanitizer)
else
bench-gpu:
	@SAN='$(SAN)' sh tests/cuda/no_cuda.sh bench_gpu
test-gpu:
	@SAN='$(SAN)' sh tests/cuda/no_cuda.sh cuda_gpu
endif

# Whether the same builds and links with NVIDIA's headers and runtime, asked where a build has none of them:
# make test-ptx brings TOOLKIT. One target of the kernels is enough for that.
LINKED := build/cuemu/linked
linked_backend := $(patsubst %,$(LINKED)/%.o,$(basename $(wildcard kernels/cuda/*.cu kernels/cuda/*.c)) kernels/backend)
linked_tests := $(patsubst $(GPU)/%,$(LINKED)/%,$(gpu_objects)) $(gpu_shared)
linked_runtime = $(firstword $(wildcard $(TOOLKIT)/lib64/libcudart_static.a $(TOOLKIT)/lib/libcudart_static.a)) -ldl -lrt
$(LINKED)/%.o: %.cu Makefile tests/cuda/rules.mk
	@mkdir -p $(@D)
	@$(TOOLKIT)/bin/nvcc $(filter-out -arch=%,$(cuda_flags)) -arch=sm_75 -I. -D_GNU_SOURCE -MMD -MP -c -o $@ $<
$(LINKED)/%.o: %.c Makefile tests/cuda/rules.mk
	@mkdir -p $(@D)
	@$(CC) -isystem $(TOOLKIT)/include $(CPPFLAGS) $(CFLAGS) -DFRESHET_CUDA -MMD -MP -c -o $@ $<

.PHONY: linked
linked: $(linked_backend) $(linked_tests) $(LINKED)/tests/cuda/bench_gpu.o $(main_object) $(B)/libfreshet.a
	@$(CC) $(LDFLAGS) -o $(LINKED)/run $(linked_backend) $(linked_tests) $(B)/libfreshet.a $(libraries) $(linked_runtime)
	@$(CC) $(LDFLAGS) -o $(LINKED)/bench $(linked_backend) $(LINKED)/tests/cuda/bench_gpu.o $(B)/libfreshet.a $(libraries) $(linked_runtime)
	@$(CC) $(LDFLAGS) -o $(LINKED)/freshet $(linked_backend) $(main_object) $(B)/libfreshet.a $(libraries) $(linked_runtime)

-include $(gpu_objects:.o=.d) $(linked_backend:.o=.d) $(patsubst $(GPU)/%.o,$(LINKED)/%.d,$(gpu_objects))
