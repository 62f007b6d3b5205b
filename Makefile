# The commands of the project; each works on a fresh Debian 12 with Rust and gcc.
PREFIX ?= /usr/local
CARGO ?= cargo
WHAT ?=
PROFILE_DIR = target/release

.PHONY: all demo test soak bench install clean

all:
	$(CARGO) build --release -p kiln -p kilnd

# Shows the main job: a plain build, then the same build cold and warm on an embedded farm, every object compared.
demo: all
	$(PROFILE_DIR)/kiln demo

# Everything that must hold: format, lints, layering, unit, end-to-end and doc tests.
test:
	scripts/test

# The hours-long versions of the same checks.
soak:
	KILN_SOAK=1 scripts/test

# Compares with peers; WHAT=family for one family (kernel: takes hours), FULL=1 for all of them without limits of time.
bench: all
	scripts/bench $(WHAT)

install: all
	install -D -m 755 $(PROFILE_DIR)/kiln $(DESTDIR)$(PREFIX)/bin/kiln
	install -D -m 755 $(PROFILE_DIR)/kilnd $(DESTDIR)$(PREFIX)/bin/kilnd
	scripts/install-data $(PROFILE_DIR)/kilnd "$(DESTDIR)" "$(PREFIX)"

clean:
	$(CARGO) clean
