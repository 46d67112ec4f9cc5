# Each row of the table of faults, with and without its defence.
.PHONY: fault-mutants
fault-mutants: integration-tools $(B)/tests/run ## take each defence of the table of faults away; ROWS="43 45" picks some
	@bash tests/faults/mutants.sh $(B) $(ROWS)

# The proxy that misbehaves on command; its commands stand at the top of its source.
integration-tools: $(B)/fault_proxy

$(B)/fault_proxy: $(B)/tests/faults/fault_proxy.o $(B)/libfreshet.a
	@echo "  LINK  $@"
	@$(CC) $(LDFLAGS) -o $@ $< $(B)/libfreshet.a $(libraries)

-include $(B)/tests/faults/fault_proxy.d
