# tests/bench/rules.mk - programs that print figures; each appends them to build/bench.jsonl.

.PHONY: bench
bench: deps $(B)/freshet $(benches) ## every figure the README quotes; a quiet machine, please
	@bash tests/bench/run.sh $(B)

# PyTorch and ONNX Runtime are no dependencies: they live in a virtual environment of their own.
PEERS ?= ../shared/peers
PEERS_VENV ?= build/peers-venv
PEERS_FLAGS ?=
.PHONY: bench-peers
bench-peers: $(addprefix $(B)/bench/bench_,request train serve) $(B)/bench/cpuclock.so $(if $(wildcard /usr/include/dnnl.h),$(B)/bench/products) ## freshet beside PyTorch and ONNX Runtime in the same rounds; PEERS=folder of theirs
	@python3 tests/bench/peers.py $(B) $(PEERS) $(PEERS_VENV) $(PEERS_FLAGS)

$(B)/bench/products: tests/bench/peers/products.c
	@mkdir -p $(@D)
	@echo "  CC    $<"
	@$(CC) $(CPPFLAGS) $(CFLAGS) -o $@ $< -ldnnl

$(B)/bench/cpuclock.so: tests/bench/peers/cpuclock.c
	@mkdir -p $(@D)
	@echo "  CC    $<"
	@$(CC) $(CPPFLAGS) $(CFLAGS) -fPIC -shared -o $@ $<
