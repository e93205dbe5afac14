# smelt. GNU make; everything is built under build/$(V).
#   make            ./smelt            make run     build and run the main job
#   make test       all tests          make parity  heavy comparisons (PyTorch)
#   make torture    the queue's durability, and outages of a minute: SEEDS=20000 SECONDS=0 (tools/torture.sh)
#   make deps       missing packages   make tidy    what a machine can check
#   make install    PREFIX=/usr/local: the program and the demo model
#   V=release (default) | dev | asan | tsan | fuzz; CC=gcc (default) | clang
V      ?= release
B      := build/$(V)
LAYERS := base http aws journal sqs s3 engine job worker gateway cli
PKGS   := libmicrohttpd libcurl libcrypto jansson libxml-2.0 lmdb libprotobuf-c \
          libturbojpeg libjpeg spng libwebp libseccomp

ifeq ($(origin CC),default)
CC := gcc
endif
ifeq ($(V),fuzz)
CC := clang
endif
WARN := -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes \
        -Wvla -Wformat=2 -Wundef -Werror
HARD := -fstack-protector-strong -fPIE -fno-strict-aliasing -fno-delete-null-pointer-checks \
        -fno-strict-overflow -ffile-prefix-map=$(CURDIR)/=
ifeq ($(shell uname -m),x86_64)
HARD += -fcf-protection=full -fstack-clash-protection
endif
OPT_release := -O2 -g -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2
ifeq ($(findstring clang,$(CC)),) # clang 14 has it behind another flag only
OPT_release += -ftrivial-auto-var-init=zero
endif
OPT_dev     := -Og -g
OPT_asan    := -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
OPT_tsan    := -O1 -g -fsanitize=thread -Wno-maybe-uninitialized
OPT_fuzz    := -O1 -g -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all
ifeq ($(filter $(V),release dev asan tsan fuzz),)
$(error V=$(V) is unknown: use release, dev, asan, tsan or fuzz)
endif

PKG_CFLAGS = $(shell pkg-config --cflags $(PKGS) 2>/dev/null) -isystem /usr/include/hdf5/serial
PKG_LIBS   = $(shell pkg-config --libs $(PKGS) 2>/dev/null) -ldnnl -lgomp \
             -L/usr/lib/$(shell $(CC) -print-multiarch 2>/dev/null || echo x86_64-linux-gnu)/hdf5/serial -lhdf5
CFLAGS  := -std=c17 -D_GNU_SOURCE -Isrc $(OPT_$(V)) $(HARD) $(WARN) $(EXTRA_CFLAGS)
LDFLAGS := -pie -Wl,-z,relro,-z,now,-z,noexecstack,-z,nodlopen -Wl,--as-needed $(OPT_$(V))
LDLIBS   = $(PKG_LIBS) -lpthread -lm
# VERBOSE=1 shows whole command lines
Q := $(if $(VERBOSE),,@)
say = @$(if $(VERBOSE),:,printf '  %-5s %s\n' $(1) $(patsubst build/%,%,$@))

SRC  := $(foreach l,$(LAYERS),$(wildcard src/$(l)/*.c src/$(l)/*.S))
OBJ   = $(patsubst src/%,$(B)/%.o,$(1))
LIBS := $(foreach l,$(LAYERS),$(B)/lib$(l).a)
# each layer's archive behind its users, once: an upward call does not link
LINK := $(B)/libcli.a $(B)/libgateway.a $(B)/libworker.a $(B)/libjob.a $(B)/libengine.a \
        $(B)/libs3.a $(B)/libsqs.a $(B)/libjournal.a $(B)/libaws.a $(B)/libhttp.a $(B)/libbase.a
UNIT := $(patsubst tests/unit/%.c,$(B)/unit/%,$(wildcard tests/unit/test_*.c))
# ThreadSanitizer starts a thread of its own and takes the signals of crashes: no run-time for processes that
# must have no thread, live in a sandbox and are seen to crash. These are tested with V=asan.
ifeq ($(V),tsan)
UNIT := $(filter-out %/test_crew %/test_generations %/test_poller %/test_engine,$(UNIT))
endif
FUZZ := $(patsubst fuzz/%.c,$(B)/fuzz/%,$(wildcard fuzz/fuzz_*.c))

.PHONY: all run test torture unit system parity fuzz-replay deps deps-test tidy format clean install
all: smelt
ifeq ($(V),release)
smelt: $(B)/smelt
	@ln -sf $(B)/smelt smelt
else
smelt: $(B)/smelt
endif

$(B)/smelt: $(B)/main.o $(LIBS)
	$(call say,LD)
	$(Q)$(CC) $(LDFLAGS) -o $@ $(B)/main.o $(LINK) $(LDLIBS)
$(B)/main.o: src/main.c
	@mkdir -p $(@D)
	$(call say,CC)
	$(Q)$(CC) $(CFLAGS) $(PKG_CFLAGS) -MMD -MP -c -o $@ $<

define LAYER
$(B)/lib$(1).a: $(call OBJ,$(wildcard src/$(1)/*.c src/$(1)/*.S)) $(EXTRA_OBJ_$(1))
	@rm -f $$@
	@ar rcs $$@ $$^
endef
# ONNX's schema (Debian's libonnx-dev) as C, by protobuf-c: generated, so without our warnings
GEN := build/gen
EXTRA_OBJ_engine := $(B)/gen/onnx.pb-c.o
$(foreach l,$(LAYERS),$(eval $(call LAYER,$(l))))

$(GEN)/onnx.pb-c.c: /usr/include/onnx/onnx.proto
	@mkdir -p $(GEN)
	$(call say,GEN)
	$(Q)protoc-c --c_out=$(GEN) -I/usr/include/onnx $<
$(GEN)/onnx.pb-c.h: $(GEN)/onnx.pb-c.c
$(B)/gen/%.o: $(GEN)/%.c
	@mkdir -p $(@D)
	$(call say,CC)
	$(Q)$(CC) -std=c17 $(OPT_$(V)) $(HARD) -w -c -o $@ $<
$(call OBJ,$(wildcard src/engine/*.c)): CFLAGS += -isystem $(GEN)
$(call OBJ,$(wildcard src/engine/*.c)): | $(GEN)/onnx.pb-c.h

$(B)/%.c.o: src/%.c
	@mkdir -p $(@D)
	$(call say,CC)
	$(Q)$(CC) $(CFLAGS) $(PKG_CFLAGS) -MMD -MP -c -o $@ $<
$(B)/%.S.o: src/%.S
	@mkdir -p $(@D)
	$(call say,CC)
	$(Q)$(CC) $(OPT_$(V)) -Iweb -c -o $@ $<
$(B)/gateway/page_assets.S.o: $(wildcard web/*)

# a test is compiled and linked at once
UNIT_DEPS = -MMD -MP -MF $@.d -MT $@
$(B)/unit/%: tests/unit/%.c $(LIBS)
	@mkdir -p $(@D)
	$(call say,LD)
	$(Q)$(CC) $(CFLAGS) $(PKG_CFLAGS) -isystem $(GEN) -Itests/unit $(LDFLAGS) $(UNIT_DEPS) \
	    -o $@ $< $(LINK) $(shell pkg-config --libs check) $(LDLIBS)

# With V=fuzz each target is a libFuzzer program; with any other V it replays files given by name.
$(B)/fuzz/%: fuzz/%.c fuzz/replay.c $(LIBS)
	@mkdir -p $(@D)
	$(call say,LD)
	$(Q)$(CC) $(CFLAGS) $(PKG_CFLAGS) -isystem $(GEN) $(LDFLAGS) -o $@ $< \
	    $(if $(filter fuzz,$(V)),-fsanitize=fuzzer,fuzz/replay.c) $(LINK) $(LDLIBS)

deps:
	@tools/deps.sh build
deps-test:
	@tools/deps.sh build test
run: deps
	@$(MAKE) --no-print-directory all
	./smelt serve $(ARGS)
unit: $(UNIT)
	@tools/unit.sh $(UNIT)
fuzz-replay: $(FUZZ)
	@tools/fuzz-replay.sh $(B)/fuzz
test: deps-test
	@tools/test.sh
torture: deps-test
	@SEEDS=$(SEEDS) LIMIT_S=$(SECONDS) tools/torture.sh
system: all
	@tools/system.sh $(T)
parity: deps-test
	@$(MAKE) --no-print-directory all
	@tools/parity.sh
tidy:
	@tools/tidy.sh
format:
	clang-format -i $$(git ls-files 'src/*.[ch]' 'tests/unit/*.[ch]' 'fuzz/*.[ch]')
# where smelt looks for its packages: beside the program, in ../share
PREFIX ?= /usr/local
install: all
	install -D -m 755 $(B)/smelt $(DESTDIR)$(PREFIX)/bin/smelt
	for f in models/demo/*; do install -D -m 644 $$f $(DESTDIR)$(PREFIX)/share/smelt/$$f; done
clean:
	rm -rf build smelt

-include $(shell find $(B) -name '*.d' 2>/dev/null)
