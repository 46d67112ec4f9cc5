# kernels/rules.mk - the GPU's part (kernels/cuda/): built where nvcc is, left out where it is not.
# `make CUDA=` builds without; a sanitizer's build never has it.

ifneq ($(origin CUDA),command line)
CUDA := $(if $(SAN),,$(shell sh kernels/cuda/find.sh))
endif
cuda_arch ?= all-major
cuda_sources := $(sort $(wildcard kernels/cuda/*.cu kernels/cuda/*.c))
cuda_objects := $(if $(CUDA),$(addprefix $(B)/,$(addsuffix .o,$(basename $(cuda_sources)))))
# No code of C++'s run time: the program needs libc only.
cuda_flags := -O3 -std=c++17 -arch=$(cuda_arch) -compress-mode=size --Werror all-warnings \
	-Wmissing-launch-bounds -Xptxas -warn-spills,-warn-lmem-usage \
	-Xcompiler -fPIE,-fno-exceptions,-fno-threadsafe-statics,-fno-rtti,-fno-asynchronous-unwind-tables,-fvisibility=hidden

objects += $(cuda_objects)
$(B)/libfreshet.a: $(cuda_objects)
libraries += $(if $(CUDA),$(firstword $(wildcard $(CUDA)/lib64/libcudart_static.a $(CUDA)/lib/libcudart_static.a)) -ldl -lrt)
$(foreach unit,$(basename $(notdir $(wildcard kernels/cuda/*.c))),$(eval kernels_cuda_$(unit)_flags = -isystem $(CUDA)/include))
kernels_backend_flags = $(if $(CUDA),-DFRESHET_CUDA)

# Said when it changes, and what depends on it is built again.
cuda_found := $(if $(CUDA),$(CUDA),none: scores on the CPU only)
ifneq ($(shell mkdir -p $(B); cat $(B)/cuda.found 2>/dev/null),$(cuda_found))
$(info   CUDA  $(cuda_found))
$(shell echo "$(cuda_found)" > $(B)/cuda.found)
endif
$(B)/kernels/backend.o $(cuda_objects): $(B)/cuda.found

$(B)/kernels/cuda/%.o: kernels/cuda/%.cu
	@mkdir -p $(@D)
	@echo "  NVCC  $<"
	@$(CUDA)/bin/nvcc $(cuda_flags) -I. -D_GNU_SOURCE -MMD -MP -c -o $@ $<

.PHONY: cuda-deps
cuda-deps: ## fetch nvcc 13 into the cache (840 MB) unless a CUDA toolkit is there
	@sh kernels/cuda/deps.sh

-include $(cuda_objects:.o=.d)
