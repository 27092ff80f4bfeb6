# SPDX-License-Identifier: MIT
#
# The front door: "make" lists what there is. The builds themselves are Meson's
# (library, tool, tests) and Kbuild's (module); both happen outside this tree.

BUILDDIR := $(shell bash -c '. tools/vm/cache.sh; evr_builddir')
TOOL     := $(BUILDDIR)/tools/evering/evering
KERNEL   ?= stock-6.12
PREFIX   ?= /usr/local
Q        := @

.DEFAULT_GOAL := help
.PHONY: help demo check check-long check-module bench bench-docs bench-driver bench-vm explore-long lib module install install-module uninstall \
	vm-shell style sparse clean distclean builddir deps setup

help: ## this list
	$(Q)echo "make TARGET [KERNEL=$(KERNEL)] [PREFIX=$(PREFIX)] [EVERING_CACHE=~/.cache/evering]"
	$(Q)sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1\t\2/p' Makefile | expand -t 18

demo: ## see it work: here first, then in a virtual machine on the module (from a bare Debian 12)
	$(Q)tools/install-deps build vm
	$(Q)$(MAKE) --no-print-directory setup
	$(Q)ninja -C $(BUILDDIR) tools/evering/evering
	$(Q)echo "--- on this machine"
	$(Q)$(TOOL) demo
	$(Q)echo "--- in a virtual machine ($(KERNEL)), with the module"
	$(Q)tools/vm/run --kernel $(KERNEL) -- $(TOOL) demo

check: ## all tests, a verdict in the last line (the first time 8 minutes longer: a kernel is built)
	$(Q)tools/install-deps build vm kernels check
	$(Q)tests/ci/check

check-long: ## the same with long runs, under KCSAN too and on one more kernel (hours)
	$(Q)tools/install-deps build vm kernels check long
	$(Q)tests/ci/check --long

explore-long: ## all schedules to the deeper bounds, and what mutants they kill, as a table (docs/testing.md; an hour)
	$(Q)tools/install-deps build
	$(Q)$(MAKE) --no-print-directory setup
	$(Q)ninja -C $(BUILDDIR) tests/model/explore
	$(Q)tests/model/long $(BUILDDIR)

check-module: ## only the module: build and tests on Debian's two kernels and on the debug kernel
	$(Q)tools/install-deps build vm kernels check
	$(Q)tests/ci/check 10 40 45 50 51 60

# All of what rows.py lists, in BENCH_OUT: bench.json, plots, and a table that says of each aim whether it is met.
BENCH_OUT ?= $(BUILDDIR)/bench

bench: ## measure, on this machine, against what Debian packages (9 minutes; QUICK=1: one; docs/performance.md)
	$(Q)tools/install-deps bench || echo "make bench: without them, then"
	$(Q)$(MAKE) --no-print-directory setup
	$(Q)ninja -C $(BUILDDIR) bench-programs
	$(Q)mkdir -p $(BENCH_OUT)
	$(Q)tests/bench/run.py $(if $(QUICK),--quick) $(BUILDDIR)/tests/bench/evering-bench $(BENCH_OUT)/bench.json
	$(Q)tests/bench/report.py $(BENCH_OUT)/bench.json --svg $(BENCH_OUT)
	$(Q)echo "in $(BENCH_OUT): bench.json and plots"

bench-docs: bench ## the same, and fill in docs/performance.md and its plots
	$(Q)tests/bench/report.py $(BENCH_OUT)/bench.json --svg docs/performance --docs docs/performance.md

bench-driver: setup ## measure the driver's no-op against raw liburing
	$(Q)nice -n 0 meson compile -C $(BUILDDIR)
	$(Q)meson test -C $(BUILDDIR) --benchmark --verbose --num-processes 1

bench-vm: ## measure the device against futex, eventfd, pidfd in one virtual machine, as ratios (no KVM: times mean little)
	$(Q)tools/install-deps build vm
	$(Q)$(MAKE) --no-print-directory lib
	$(Q)tools/vm/run --kernel $(KERNEL) --timeout 900 --file $(TOOL) -- sh -c \
		'for b in contiguous ring wake ringtrip bytes reap; do $(TOOL) bench $$b || exit; echo; done'

lib: setup ## build library and tool
	$(Q)meson compile -C $(BUILDDIR)
	$(Q)echo "built in $(BUILDDIR)"

setup: ## configure the build directory, for meson and ninja of your own
	$(Q)tools/install-deps build
	$(Q)mkdir -p $(BUILDDIR)
	$(Q)meson setup $$([ ! -e $(BUILDDIR)/build.ninja ] || echo --reconfigure) $(BUILDDIR) . >$(BUILDDIR).log || \
		{ cat $(BUILDDIR).log; exit 1; }

module: ## build evering.ko for KERNEL (a name of tools/vm/kernel, or a directory such as /lib/modules/6.1.0-0/build)
	$(Q)tools/install-deps build vm
	$(Q)tools/vm/module $(KERNEL)

install: lib ## install library, tool, headers and man pages below PREFIX (DESTDIR is honoured)
	$(Q)meson configure $(BUILDDIR) --prefix=$(PREFIX)
	$(Q)meson install -C $(BUILDDIR)
	$(Q)[ -n "$(DESTDIR)" ] || [ "$$(id -u)" != 0 ] || ldconfig

install-module: ## build the module for the running kernel and install it with its udev rule and group (DESTDIR is honoured)
	$(Q)ko=$$(tools/vm/module /lib/modules/$$(uname -r)/build) && \
	install -D -m 644 $$ko $(DESTDIR)/lib/modules/$$(uname -r)/updates/evering.ko
	$(Q)install -D -m 644 kernel/dist/60-evering.rules $(DESTDIR)/lib/udev/rules.d/60-evering.rules
	$(Q)install -D -m 644 kernel/dist/evering.modules-load.conf $(DESTDIR)/usr/lib/modules-load.d/evering.conf
	$(Q)install -D -m 644 kernel/dist/evering.sysusers.conf $(DESTDIR)/usr/lib/sysusers.d/evering.conf
	$(Q)[ -n "$(DESTDIR)" ] || { systemd-sysusers; depmod; echo "modprobe evering loads it"; }

uninstall: ## undo the last install
	$(Q)ninja -C $(BUILDDIR) uninstall

vm-shell: ## a shell in a virtual machine with the module loaded
	$(Q)tools/install-deps build vm
	$(Q)$(MAKE) --no-print-directory lib
	$(Q)tools/vm/shell --kernel $(KERNEL)

style: ## checkpatch, clang-format and the project's own rules
	$(Q)tools/install-deps kernels check
	$(Q)tests/ci/check 30

sparse: ## build the module for both stock kernels with sparse, no warning allowed
	$(Q)tools/install-deps build vm check
	$(Q)tests/ci/check 40

clean: ## remove the build directory of this checkout
	$(Q)rm -rf $(BUILDDIR) $(BUILDDIR)-* $(BUILDDIR).log

distclean: clean ## also remove the cached kernels (6 minutes each to rebuild)
	$(Q)rm -rf $(shell bash -c '. tools/vm/cache.sh; echo "$$EVR_CACHE"')/kernels

builddir: ## print the build directory
	$(Q)echo $(BUILDDIR)

deps: ## install the Debian packages that are missing, all of tools/deps
	$(Q)tools/install-deps build vm kernels check
