# The simulator of failures: the ingest machine against modelled logs and a modelled Redis.
simulate_sources := $(wildcard tests/simulate/*.c) tests/support/store_model.c
simulate_objects := $(simulate_sources:%.c=$(B)/%.o)

$(B)/simulate: $(simulate_objects) $(B)/libfreshet.a
	@echo "  LINK  $@"
	@$(CC) $(LDFLAGS) -o $@ $(simulate_objects) $(B)/libfreshet.a $(libraries)

SEEDS ?= 20000
FIRST ?= 1
JOBS ?= 1
.PHONY: simulate
simulate: $(B)/simulate ## schedules of failures on virtual time; SEEDS=n, FIRST=s, JOBS=j
	@$(B)/simulate --seeds $(SEEDS) --sweep 20 --first $(FIRST) --jobs $(JOBS)

.PHONY: simulate-soak
simulate-soak: $(B)/simulate ## ten million schedules, an hour or so; SIGTERM ends it with what was reached
	@nice $(B)/simulate --seeds 10000000 --first $(FIRST) --jobs $(JOBS) --table --log $(B)/simulate.log

.PHONY: mutants
mutants: protocol-mutants fault-mutants ## take each defence away: the simulator, or its fault's test, must notice
.PHONY: protocol-mutants
protocol-mutants: $(B)/simulate $(B)/tests/run ## those of the protocol alone; MUTANTS="TICK LAST" picks some
	@CC="$(CC)" LIBRARIES="$(libraries)" SIMULATE_OBJECTS="$(simulate_objects)" \
		TEST_OBJECTS="$(test_objects)" bash tests/simulate/mutants.sh $(B) 10000 $(MUTANTS)

-include $(simulate_objects:.o=.d)
