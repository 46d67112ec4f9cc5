# tests/cuemu/rules.mk - the GPU's kernels on the CPU. Needs neither nvcc nor CUDA's headers.
#
# The kernels are compiled with the hooks of -fsanitize=thread and without its library: the hooks are
# ours. Undefined behaviour of C++ in them (overflow of an int, an index beyond its array) ends the
# program. What a compiler makes of small copies, calls of memcpy, goes through the hooks, too (newer
# ones do so by themselves). Everything else of the product is what the plain build has.

E := build/cuemu
CUEMU_CXX ?= $(CXX)
# PASS_SLICE: item tables in several slices, that are small enough for tests. GRAPHS_REST: fewer requests.
cuemu_include := -Itests/cuemu/include -I. -D_GNU_SOURCE -DPASS_SLICE=4096 -DGRAPHS_REST=9
cuemu_kernel_flags := -x c++ -std=c++17 -g -O1 -Wall -Wextra -Werror -fPIE -fcf-protection=none \
	-fsanitize=thread,undefined,float-cast-overflow -fno-sanitize=vptr,object-size -fno-sanitize-recover=all
# clang++ would put words of its own in front of a kernel, where the nops of __launch_bounds__ are.
cuemu_kernel_flags += $(if $(findstring clang,$(CUEMU_CXX)),-fno-sanitize=function)
cuemu_link := -pie -fsanitize=undefined
cuemu_kernels := $(patsubst %.cu,$(E)/%.o,$(wildcard kernels/cuda/*.cu))
cuemu_host := $(patsubst %.c,$(E)/%.o,$(wildcard kernels/cuda/*.c) kernels/backend.c $(filter-out %/real_device.c %/bench_gpu.c,$(wildcard tests/cuda/*.c)) $(wildcard tests/cuemu/*.c)) \
	$(patsubst %.cpp,$(E)/%.o,$(wildcard tests/cuemu/*.cpp))
cuemu_shared := $(addprefix $(B)/tests/,runner.o kernels/caches.o kernels/jagged.o)

# blas.c opens our cuBLAS, by the functions that do so here.
cuemu_blas := -Ddlopen=cuemu_dlopen -Ddlsym=cuemu_dlsym -Ddlclose=cuemu_dlclose

$(E)/%.o: %.cu Makefile tests/cuemu/rules.mk
	@mkdir -p $(@D)
	@echo "  CUEMU $<"
	@$(CUEMU_CXX) $(cuemu_include) $(cuemu_kernel_flags) -MMD -MP -c -o $@ $<
	@objcopy --redefine-sym memcpy=__tsan_memcpy --redefine-sym memset=__tsan_memset $@

$(E)/%.o: %.c Makefile tests/cuemu/rules.mk
	@mkdir -p $(@D)
	@echo "  CC    $< (cuemu)"
	@$(CC) $(cuemu_include) $(CFLAGS) -DFRESHET_CUDA $(if $(filter %/blas.c,$<),$(cuemu_blas)) -MMD -MP -c -o $@ $<

$(E)/%.o: %.cpp Makefile tests/cuemu/rules.mk
	@mkdir -p $(@D)
	@echo "  CXX   $<"
	@$(CUEMU_CXX) $(cuemu_include) -std=c++17 -g -O2 $(warnings) -fPIE -MMD -MP -c -o $@ $<

# Our backend.o comes before the library's.
$(E)/run: $(cuemu_kernels) $(cuemu_host) $(cuemu_shared) $(B)/libfreshet.a
	@echo "  LINK  $@"
	@$(CUEMU_CXX) $(cuemu_link) -o $@ $(cuemu_kernels) $(cuemu_host) $(cuemu_shared) $(B)/libfreshet.a $(libraries)

# The whole program, with a device that is emulated: for test_roles.sh, and by hand.
cuemu_program := $(cuemu_kernels) $(filter $(E)/kernels/%,$(cuemu_host)) $(patsubst %.cpp,$(E)/%.o,$(wildcard tests/cuemu/*.cpp))
$(E)/freshet: $(cuemu_program) $(B)/freshet.o $(B)/libfreshet.a
	@echo "  LINK  $@"
	@$(CUEMU_CXX) $(cuemu_link) -o $@ $^ $(libraries)

# The same report as bench-gpu's, with no times; for a test, and for who changes it.
$(E)/bench: $(cuemu_kernels) $(filter-out $(E)/tests/%.o,$(cuemu_host)) $(filter $(E)/tests/%,$(patsubst %.cpp,$(E)/%.o,$(wildcard tests/cuemu/*.cpp))) $(E)/tests/cuda/bench_gpu.o $(B)/libfreshet.a
	@echo "  LINK  $@"
	@$(CUEMU_CXX) $(cuemu_link) -o $@ $^ $(libraries)

.PHONY: bench-cuemu
bench-cuemu: $(E)/bench ## bench-gpu's program on the emulator, to its end; no times
	@$(E)/bench --tiny $(if $(JSON),--json=$(JSON))

.PHONY: test-cuemu
test-cuemu: $(E)/run $(E)/bench $(E)/freshet integration-tools ## the GPU's kernels on an emulator, and planted bugs that it must see; no nvcc needed
	@COMPILE_C='$(CC) $(cuemu_include) $(CFLAGS) -DFRESHET_CUDA -c' \
		COMPILE_KERNEL='$(CUEMU_CXX) $(cuemu_include) $(cuemu_kernel_flags) -c' \
		LINK='$(CUEMU_CXX) $(cuemu_link)' OBJECTS='$(cuemu_kernels) $(cuemu_host)' \
		REST='$(cuemu_shared) $(B)/libfreshet.a $(libraries)' bash tests/cuemu/run.sh

# The same tests on kernels of the other compiler, half a minute of two cores; no planted bugs.
.PHONY: test-cuemu-clang
test-cuemu-clang: $(B)/libfreshet.a $(cuemu_shared) ## the kernels' tests on the emulator as clang++ builds it, where that is
	@if command -v clang++ >/dev/null; then \
		$(MAKE) E=build/cuemu-clang CUEMU_CXX=clang++ build/cuemu-clang/run && build/cuemu-clang/run --jobs=$$(nproc); \
	else echo "skipped cuemu_clang: no clang++ here"; echo "0 passed, 0 failed, 1 skipped"; fi

# Long: ten minutes of two cores for 80. COUNT and SEED pick others.
.PHONY: mutants-cuda
mutants-cuda: $(E)/run ## random mistakes in the GPU's kernels, one at a time, and which no test sees
	@COMPILE_KERNEL='$(CUEMU_CXX) $(cuemu_include) $(cuemu_kernel_flags) -w -c' LINK='$(CUEMU_CXX) $(cuemu_link)' \
		OBJECTS='$(cuemu_kernels) $(cuemu_host)' REST='$(cuemu_shared) $(B)/libfreshet.a $(libraries)' \
		bash tests/cuemu/mutants.sh $(or $(COUNT),80) $(or $(SEED),1)

# Exact counts and estimates from them: tests/cuemu/test_roofline.c. Of nvcc's PTX where nvcc is.
# HEADERS=write: the heads of the kernels are told; HEADERS=check: are they right?
.PHONY: roofline
roofline: $(E)/run ## what each GPU kernel asks for and needs at least, its operations, and the floor they imply
	@bash tests/cuemu/ptx.sh compile 80 90 >$(E)/roofline.log 2>&1 || { cat $(E)/roofline.log; exit 1; }
	@ptx=$$(ls -d $(E)/ptx/80 2>/dev/null); ROOFLINE=1 $${ptx:+env CUEMU_PTX=$$ptx CUEMU_PTXAS=$(E)/ptx} $(E)/run --jobs=1 cuda_roofline >$(E)/roofline.txt; \
		status=$$?; cat $(E)/roofline.txt; exit $$status
	@[ -z "$(HEADERS)" ] || python3 tests/cuemu/roofline_headers.py $(HEADERS) $(E)/roofline.txt

# The host's part of kernels/cuda/, by the emulator's headers: no toolkit is needed to look at it.
cuda_tidy := $(patsubst %,$(E)/tidy/%.ok,$(wildcard kernels/cuda/*.c))
$(E)/tidy/%.c.ok: %.c $(E)/%.o .clang-tidy
	@mkdir -p $(@D)
	@echo "  TIDY  $<"
	@clang-tidy --quiet $< -- -std=c11 $(cuemu_include) -DFRESHET_CUDA $(tidy_flags) 2>$@.log || { cat $@.log; exit 1; }
	@touch $@
tidy: $(cuda_tidy)

# What nvcc makes of the kernels: spills, local memory, double, launch bounds; then all tests on it.
# No GPU needed. QUICK=1: two targets; FETCH=SECONDS: nvcc is fetched if it takes no longer.
.PHONY: test-ptx
test-ptx: $(E)/run ## gates on the compiled kernels and all their tests on the PTX, where nvcc is
	@QUICK='$(QUICK)' FETCH='$(FETCH)' bash tests/cuemu/ptx.sh

-include $(cuemu_kernels:.o=.d) $(cuemu_host:.o=.d)
