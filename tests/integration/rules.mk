# What integration scripts need beside freshet itself: make integration-tools [CRASH_POINTS=1]
.PHONY: integration-tools
integration-tools: $(B)/freshet $(B)/kafka_tool

$(B)/kafka_tool: $(B)/tests/integration/kafka_tool.o $(B)/libfreshet.a
	@echo "  LINK  $@"
	@$(CC) $(LDFLAGS) -o $@ $< $(B)/libfreshet.a $(libraries)
