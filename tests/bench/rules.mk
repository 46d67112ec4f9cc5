# tests/bench/rules.mk - programs that print figures; each appends them to build/bench.jsonl.

.PHONY: bench
bench: deps $(B)/freshet $(benches) ## every figure the README quotes; a quiet machine, please
	@bash tests/bench/run.sh $(B)
