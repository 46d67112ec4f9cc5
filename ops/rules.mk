# ops/rules.mk - running the whole loop.

# The assembler takes the page in, which the compiler's list of dependencies does not know.
$(B)/ops/demo_page.o: ops/demo_page.html

.PHONY: demo
demo: ## the whole loop on this machine, live; KAFKA=apache, DEMO_SECONDS=150, DEMO_ARGS="--plain"
	@bash ops/deploy/demo.sh

# The program, a unit a role (freshet@ingest, ...) and a configuration with every setting at its
# default, to be copied to /etc/freshet.
PREFIX ?= /usr/local
.PHONY: install
install: $(B)/freshet ## install to PREFIX (/usr/local), below DESTDIR
	install -D -m 0755 $(B)/freshet $(DESTDIR)$(PREFIX)/bin/freshet
	install -d $(DESTDIR)$(PREFIX)/lib/systemd/system $(DESTDIR)$(PREFIX)/share/freshet
	sed 's|@PREFIX@|$(PREFIX)|' ops/deploy/freshet@.service >$(DESTDIR)$(PREFIX)/lib/systemd/system/freshet@.service
	cd / && env -u FRESHET_CONFIG $(abspath $(B))/freshet config show >$(DESTDIR)$(PREFIX)/share/freshet/freshet.yaml
