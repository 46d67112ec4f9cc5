# Each row of the table of faults, with and without its defence.
.PHONY: fault-mutants
fault-mutants: integration-tools $(B)/tests/run ## take each defence of the table of faults away; ROWS="43 45" picks some
	@bash tests/faults/mutants.sh $(B) $(ROWS)
