# Each row of the table of faults, with and without its defence.
.PHONY: fault-mutants
fault-mutants: integration-tools $(B)/tests/run ## take each defence of the table of faults away; ROWS="43 45" picks some
	@bash tests/faults/mutants.sh $(B) $(ROWS)

# The long forms: minutes of outage, lost answers by the hundred, random faults. What is printed is
# kept in tests/faults/soak.log.
SOAK_SECONDS ?= 1800
.PHONY: soak soak-faults
soak: soak-faults ## the long forms of the faults, SOAK_SECONDS=1800 of random ones; SEED=n
soak-faults: integration-tools
	@bash tests/faults/soak.sh $(SOAK_SECONDS)

# The proxy that misbehaves on command; its commands stand at the top of its source.
integration-tools: $(B)/fault_proxy

$(B)/fault_proxy: $(B)/tests/faults/fault_proxy.o $(B)/libfreshet.a
	@echo "  LINK  $@"
	@$(CC) $(LDFLAGS) -o $@ $< $(B)/libfreshet.a $(libraries)

-include $(B)/tests/faults/fault_proxy.d
