# ops/rules.mk - running the whole loop.

# The assembler takes the page in, which the compiler's list of dependencies does not know.
$(B)/ops/demo_page.o: ops/demo_page.html

.PHONY: demo
demo: ## the whole loop on this machine, live; KAFKA=apache, DEMO_SECONDS=150, DEMO_ARGS="--plain"
	@bash ops/deploy/demo.sh
