# SPDX-License-Identifier: MIT
# The front door.  `make help` lists what one can do here.
.DEFAULT_GOAL := all
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
MAKEFLAGS += --no-builtin-rules --no-print-directory
.SUFFIXES:
.DELETE_ON_ERROR:

# `make V=1` shows the commands.
V ?= 0
ifeq ($(V),0)
MAKEFLAGS += --silent
Q := @
say = @printf '  %-5s %s\n' '$1' '$2'
else
Q :=
say = @:
endif

B := build
# As many compilations at once as there are CPUs, unless -j says otherwise.
ifeq ($(MAKELEVEL)$(filter -j% --jobserver%,$(MAKEFLAGS)),0)
MAKEFLAGS += -j$(shell nproc 2>/dev/null || echo 2)
endif

# ---------------------------------------------------------------------------------------------------------------- everyday

.PHONY: help
help: ## lists the targets
	@sed -n 's/^\([a-z][a-z-]*\):.*## \(.*\)/  make \1@\2/p' Makefile | awk -F@ '{ printf "%-20s %s\n", $$1, $$2 }'
	@printf '\nVariables: V=1 shows commands, GUEST=NAME picks one test guest, T=60 seconds per fuzz target,\n'
	@printf '           INITRAMFS=1 a tiny dom0 without a disk, KEEP=1 a disk that keeps what dom0 writes,\n'
	@printf '           MEM=1024 MiB of memory, CMDLINE="..." for Linux, PARAVANE="..." for the hypervisor, ACCEL=tcg\n'

.PHONY: all
all: hypervisor guests ## builds the hypervisor and the test guests

.PHONY: setup
setup: ## installs the Debian packages that are missing (.packages lists them)
	@.make/setup

# What a person types first must work on a bare machine: the goals that build come after the packages.
$(B)/.setup: .packages .make/setup
	@.make/setup
	@mkdir -p $(B) && touch $@

# -------------------------------------------------------------------------------------------------------------- hypervisor

CC := clang-19
CXX := clang++-19
LD := ld.lld-19
FREESTANDING := -std=c++23 -ffreestanding -fno-exceptions -fno-rtti -mno-red-zone -mno-sse -mno-mmx -mno-avx \
	-fno-stack-protector -fno-pic -fno-threadsafe-statics -fno-asynchronous-unwind-tables -fno-omit-frame-pointer -fcf-protection=none
WARNINGS := -Wall -Wextra -Wconversion -Wshadow -Wold-style-cast -Wthread-safety -Werror
CXXFLAGS := $(FREESTANDING) -mcmodel=kernel -mretpoline -g -O2 $(WARNINGS) -Ihypervisor -Ihypercall-abi/include $(EXTRA_CXXFLAGS)
# The whole hypervisor is compiled as one: its layers call each other across files everywhere.
LTO := -flto
ASFLAGS := -x assembler-with-cpp -g -Wa,--fatal-warnings -Ihypervisor -Ihypercall-abi/include
LDFLAGS := -nostdlib -static -z max-page-size=4096 -z noexecstack --no-dynamic-linker --fatal-warnings

hypervisor_sources := $(shell find hypervisor -name testing -prune -o \( -name '*.cpp' -o -name '*.S' \) ! -name '*_test.cpp' -print 2>/dev/null | LC_ALL=C sort)
hypervisor_objects := $(patsubst %,$(B)/%.o,$(hypervisor_sources))
machine_objects := $(filter %.S.o %/runtime.cpp.o,$(hypervisor_objects))
linker_script := hypervisor/arch/x86/paravane.lds

.PHONY: hypervisor
hypervisor: $(B)/paravane ## builds build/paravane (multiboot) and build/paravane.elf (with symbols)

# A change of flags rebuilds what they touch: this file changes only when they do.
flags_now := $(CXXFLAGS) $(LTO) $(ASFLAGS) $(LDFLAGS)
$(B)/.flags: FORCE
	@mkdir -p $(B); echo '$(flags_now)' | cmp -s - $@ || echo '$(flags_now)' >$@
# Likewise for the list of objects, so that a removed file leaves the image.
$(B)/.objects: FORCE
	@mkdir -p $(B); echo '$(hypervisor_objects)' | cmp -s - $@ || echo '$(hypervisor_objects)' >$@
.PHONY: FORCE
FORCE:

$(B)/hypervisor/%.cpp.o: hypervisor/%.cpp $(B)/.flags | $(B)/.setup
	$(call say,CXX,$<)
	@mkdir -p $(@D)
	$(Q)$(CXX) $(CXXFLAGS) $(LTO) -MMD -MP -c -o $@ $<
# The compiler makes calls of these late, when it has taken the rest for complete.
$(B)/hypervisor/arch/x86/runtime.cpp.o: LTO :=

$(B)/hypervisor/%.S.o: hypervisor/%.S $(B)/.flags | $(B)/.setup
	$(call say,AS,$<)
	@mkdir -p $(@D)
	$(Q)$(CXX) $(ASFLAGS) -MMD -MP -c -o $@ $<

$(B)/paravane.elf: $(hypervisor_objects) $(linker_script) $(B)/.objects .make/check-image .make/symbols | $(B)/.setup
	$(call say,LD,$@)
	$(Q)$(LD) $(LDFLAGS) -mllvm -code-model=kernel --lto-obj-path=$(B)/hypervisor/all.o -T $(linker_script) -o $@.first $(hypervisor_objects)
	$(Q)$(LD) $(LDFLAGS) -T $(linker_script) -o $@.first $(B)/hypervisor/all.o $(machine_objects)
	$(Q).make/symbols $@.first >$(B)/symbols.S && $(CXX) $(ASFLAGS) -c -o $(B)/symbols.o $(B)/symbols.S
	$(Q)$(LD) $(LDFLAGS) -T $(linker_script) -Map=$(B)/paravane.map -o $@ $(B)/hypervisor/all.o $(machine_objects) $(B)/symbols.o
	$(call say,CHECK,$@)
	$(Q).make/check-image $@

# A flat image: the Multiboot headers say where it goes, so a loader need not read ELF64 (QEMU's cannot).
$(B)/paravane: $(B)/paravane.elf
	$(call say,COPY,$@)
	$(Q)llvm-objcopy-19 -O binary $< $@

# ------------------------------------------------------------------------------------------------------------- test guests

# A folder of tests/guests/ is a guest; lib/ is what they share.
guest_flags := $(FREESTANDING) -mcmodel=kernel -g -O2 $(WARNINGS) -Itests/guests/lib -Ihypercall-abi/include
guest_asflags := -x assembler-with-cpp -g -Wa,--fatal-warnings -Itests/guests/lib -Ihypercall-abi/include
guest_script := tests/guests/lib/guest.lds
guest_sources = $(sort $(wildcard tests/guests/$1/*.cpp tests/guests/$1/*.S))
guest_objects = $(patsubst tests/guests/%,$(B)/guests/objects/%.o,$(call guest_sources,$1))
guest_names := $(filter-out lib,$(sort $(notdir $(patsubst %/,%,$(dir $(wildcard tests/guests/*/*.cpp tests/guests/*/*.S))))))

.PHONY: guests
guests: $(guest_names:%=$(B)/guests/%.elf) $(B)/guests/example_kernel.elf ## builds the test guests into build/guests/
	$(if $(guest_names),,$(call say,GUEST,no test guests yet))

$(B)/guests/objects/%.cpp.o: tests/guests/%.cpp $(B)/.flags | $(B)/.setup
	$(call say,CXX,$<)
	@mkdir -p $(@D)
	$(Q)$(CXX) $(guest_flags) -MMD -MP -c -o $@ $<

$(B)/guests/objects/%.S.o: tests/guests/%.S $(B)/.flags | $(B)/.setup
	$(call say,AS,$<)
	@mkdir -p $(@D)
	$(Q)$(CXX) $(guest_asflags) -MMD -MP -c -o $@ $<

define guest_rule
$(B)/guests/$1.elf: $(call guest_objects,$1) $(call guest_objects,lib) $(guest_script) | $(B)/.setup
	$$(call say,GUEST,$1)
	$$(Q)$(LD) $(LDFLAGS) -T $(guest_script) -o $$@ $(call guest_objects,$1) $(call guest_objects,lib)
endef
$(foreach guest,$(guest_names),$(eval $(call guest_rule,$(guest))))

# The kernel of the porting guide stands by itself.
example_sources := $(wildcard hypercall-abi/example/* hypercall-abi/include/paravane/*)
$(B)/guests/example_kernel.elf: $(example_sources) | $(B)/.setup
	$(call say,GUEST,example_kernel)
	@mkdir -p $(@D)
	$(Q)$(MAKE) -s --no-print-directory -C hypercall-abi/example CC=gcc LD=ld OUTPUT=$(abspath $@)

# ------------------------------------------------------------------------------------------------------------------- Linux

.PHONY: linux
linux: $(B)/.setup ## builds the patched Linux into build/vmlinux and build/bzImage (cached outside the tree)
	@guest-linux-patches/build.sh

.PHONY: linux-debug
linux-debug: $(B)/.setup ## builds the same with the kernel's checks of itself (locks, contexts, entries, memory) into build/debug
	@guest-linux-patches/build.sh --also debug.config $(CURDIR)/$(B)/debug

.PHONY: toolstack
toolstack: $(B)/.setup ## builds pvn, the toolstack of dom0, into build/toolstack/pvn
	$(call say,CMAKE,toolstack)
	$(Q)test -f $(B)/toolstack/build.ninja || CC=$(CC) CXX=$(CXX) cmake -S toolstack -B $(B)/toolstack -G Ninja -DCMAKE_EXE_LINKER_FLAGS=-fuse-ld=lld-19 >$(B)/toolstack.log
	$(Q)ninja -C $(B)/toolstack $(if $(filter 0,$(V)),--quiet,-v)

initramfs_files := $(shell find tests/system/initramfs tests/system/domu -type f 2>/dev/null)
.PHONY: initramfs
initramfs: linux toolstack ## packs dom0's initial file system, with pvn and a small domU ready to create
	@$(MAKE) $(B)/initramfs.cpio.gz
$(B)/hello.cpio.gz: $(initramfs_files) .make/initramfs | $(B)/.setup
	$(call say,CPIO,$@)
	$(Q).make/initramfs $@ tests/system/domu
# Test guests that dom0 starts as domUs, beside a Linux that must not notice.
domu_guests := $(filter hostile_%,$(guest_names)) start store timer
programs := $(notdir $(basename $(wildcard tests/system/programs/*.c)))
dom0_files := usr/bin/pvn=$(B)/toolstack/pvn usr/bin/pvn-stored=$(B)/toolstack/pvn-stored $(foreach program,$(programs),usr/bin/$(program)=$(B)/$(program)) boot/vmlinux=$(B)/vmlinux boot/bzImage=$(B)/bzImage boot/hello.cpio.gz=$(B)/hello.cpio.gz \
	usr/share/bash-completion/completions/pvn=toolstack/completion/pvn.bash $(foreach guest,$(domu_guests),boot/guests/$(guest)=$(B)/guests/$(guest).elf) \
	$(foreach terminal,l/linux v/vt100 v/vt220 x/xterm x/xterm-256color,lib/terminfo/$(terminal)=/lib/terminfo/$(terminal))
modules := lib/modules=$(B)/modules/lib/modules
$(B)/initramfs.cpio.gz: $(initramfs_files) $(B)/hello.cpio.gz $(B)/toolstack/pvn $(B)/toolstack/pvn-stored $(programs:%=$(B)/%) $(B)/vmlinux toolstack/completion/pvn.bash $(domu_guests:%=$(B)/guests/%.elf) .make/initramfs | $(B)/.setup
	$(call say,CPIO,$@)
	$(Q).make/initramfs $@ tests/system/initramfs $(dom0_files) $(modules)
$(B)/vmlinux $(B)/toolstack/pvn $(B)/toolstack/pvn-stored: ;

# The same with the kernel that checks itself, for dom0 and for its domUs.
.PHONY: initramfs-debug
initramfs-debug: initramfs linux-debug
	@$(MAKE) $(B)/debug/initramfs.cpio.gz
debug_files := lib/modules=$(B)/debug/modules/lib/modules usr/bin/without_memory=tests/system/programs/without_memory
$(B)/debug/hello.cpio.gz: $(initramfs_files) tests/system/programs/without_memory .make/initramfs $(B)/debug/vmlinux | $(B)/.setup
	$(call say,CPIO,$@)
	$(Q).make/initramfs $@ tests/system/domu $(debug_files)
$(B)/debug/initramfs.cpio.gz: $(B)/initramfs.cpio.gz $(B)/debug/hello.cpio.gz $(B)/debug/vmlinux
	$(call say,CPIO,$@)
	$(Q).make/initramfs $@ tests/system/initramfs boot/vmlinux=$(B)/debug/vmlinux boot/hello.cpio.gz=$(B)/debug/hello.cpio.gz $(dom0_files) $(debug_files)
$(B)/debug/vmlinux: ;

$(programs:%=$(B)/%): $(B)/%: tests/system/programs/%.c | $(B)/.setup
	$(call say,CC,$<)
	$(Q)gcc -O2 -static -pthread -Wall -Wextra -Werror -o $@ $<

# The kernel's own x86 selftests, with a first program that runs them all.
.PHONY: selftests
selftests: initramfs
	@.make/selftests $(B)/selftests
	@$(MAKE) $(B)/selftests.cpio.gz $(B)/selftests-dom0.cpio.gz
$(B)/selftests.cpio.gz: $(wildcard tests/system/selftests/*) $(B)/selftests/.key .make/initramfs | $(B)/.setup
	$(call say,CPIO,$@)
	$(Q).make/initramfs $@ tests/system/selftests /=$(B)/selftests
$(B)/selftests-dom0.cpio.gz: $(B)/initramfs.cpio.gz $(B)/selftests.cpio.gz
	$(call say,CPIO,$@)
	$(Q).make/initramfs $@ tests/system/initramfs $(dom0_files) $(modules) boot/selftests.cpio.gz=$(B)/selftests.cpio.gz
$(B)/selftests/.key: ;

# stress-ng with its libraries, for dom0 and for domUs.
.PHONY: stress
stress: initramfs
	@$(MAKE) $(B)/stress/initramfs.cpio.gz
stress_files = usr/bin/stress-ng=/usr/bin/stress-ng $(foreach library,$(shell ldd /usr/bin/stress-ng 2>/dev/null | grep -o '/[^ ]*'),$(library:/%=%)=$(library))
$(B)/stress/domu.cpio.gz: $(initramfs_files) .make/initramfs | $(B)/.setup
	$(call say,CPIO,$@)
	$(Q).make/initramfs $@ tests/system/domu $(stress_files)
$(B)/stress/initramfs.cpio.gz: $(B)/initramfs.cpio.gz $(B)/stress/domu.cpio.gz
	$(call say,CPIO,$@)
	$(Q).make/initramfs $@ tests/system/initramfs $(dom0_files) $(modules) $(stress_files) boot/stress.cpio.gz=$(B)/stress/domu.cpio.gz

# A root for domUs, on a disk: busybox and what tests disks and networks, with the libraries.
tools := /usr/bin/fio /usr/bin/iperf3 /usr/bin/qemu-img /usr/bin/qemu-nbd /lib64/ld-linux-x86-64.so.2
$(B)/tools.cpio.gz: $(initramfs_files) $(B)/vmlinux .make/initramfs Makefile | $(B)/.setup
	$(call say,CPIO,$@)
	$(Q).make/initramfs $@ tests/system/domu $(modules) $$(for file in $(tools) $$(ldd $(tools) | grep -o '/[^ ]*[^ :]' | sort -u); do echo $${file#/}=$$file; done | sort -u)
.PHONY: tools
tools: $(B)/tools.img
$(B)/tools.img: $(B)/tools.cpio.gz
	$(call say,DISK,$@)
	$(Q)rm -rf $(B)/tools && mkdir -p $(B)/tools
	$(Q)fakeroot -- bash -euo pipefail -c 'cd $(B)/tools; zcat ../tools.cpio.gz | cpio -idm --quiet; mke2fs -q -F -t ext4 -L tools -d . ../tools.img.new 192M'
	$(Q)rm -rf $(B)/tools && mv $@.new $@

debian_files := $(shell find tests/system/debian -type f 2>/dev/null)
.PHONY: disk
disk: initramfs ## makes build/debian.img: Debian 12 for dom0, with pvn (Debian itself is cached outside the tree)
	@$(MAKE) $(B)/domu.img
# The same for a domU, which dom0 sees as a disk of its own.
$(B)/domu.img: $(B)/debian.img
	$(Q)cp --sparse=always $< $@
$(B)/debian.img: $(debian_files) tests/system/debian.toml tests/system/initramfs/root/hello.toml $(B)/hello.cpio.gz $(B)/toolstack/pvn $(B)/toolstack/pvn-stored $(B)/vmlinux .make/disk | $(B)/.setup
	$(Q).make/disk $@ tests/system/debian usr/bin/pvn=$(B)/toolstack/pvn usr/bin/pvn-stored=$(B)/toolstack/pvn-stored boot/vmlinux=$(B)/vmlinux boot/hello.cpio.gz=$(B)/hello.cpio.gz \
		root/hello.toml=tests/system/initramfs/root/hello.toml root/debian.toml=tests/system/debian.toml usr/lib/modules=$(B)/modules/lib/modules

# --------------------------------------------------------------------------------------------------------------------- run

MEM ?= 1024
ACCEL ?= tcg
PARAVANE ?=
QEMU ?= qemu-system-x86_64
run_qemu = $(QEMU) -accel $(ACCEL) -cpu max -m $(MEM) -display none -serial mon:stdio -no-reboot \
	-device isa-debug-exit,iobase=0xf4,iosize=4
# dom0's root: the Debian disk, or with INITRAMFS=1 a tiny file system in memory.
INITRAMFS ?=
root_files := $(if $(INITRAMFS),initramfs,disk)
CMDLINE ?= console=hvc0$(if $(INITRAMFS),, root=/dev/vda rw)
# What dom0 writes is forgotten unless KEEP=1.
KEEP ?=
disk_qemu = $(if $(INITRAMFS),,$(foreach disk,debian domu,-drive file=$(B)/$(disk).img$(comma)format=raw$(comma)if=virtio$(if $(KEEP),,$(comma)snapshot=on)) -nic user$(comma)model=virtio-net-pci)

.PHONY: run
run: ## boots Paravane with Debian as dom0 in QEMU, or with a test guest (GUEST=NAME); Ctrl-A X leaves
	@$(MAKE) setup
ifdef GUEST
	@$(MAKE) hypervisor $(B)/guests/$(GUEST).elf
	$(Q)$(run_qemu) -kernel $(B)/paravane -append '$(PARAVANE)' -initrd '$(B)/guests/$(GUEST).elf' || test $$? = 1
else
	@$(MAKE) hypervisor $(root_files)
	$(Q)$(run_qemu) $(disk_qemu) -kernel $(B)/paravane -append '$(PARAVANE)' \
		-initrd '$(B)/vmlinux $(subst $(comma),$(comma)$(comma),$(CMDLINE))$(if $(INITRAMFS),$(comma)$(B)/initramfs.cpio.gz)' || test $$? = 1
endif
comma := ,

.PHONY: run-native
run-native: ## boots the same Linux in QEMU without Paravane, for comparison
	@$(MAKE) linux initramfs
	$(Q)$(run_qemu) -kernel $(B)/bzImage -append 'console=ttyS0 $(filter-out console=% root=% rw,$(CMDLINE))' -initrd $(B)/initramfs.cpio.gz || test $$? = 1

.PHONY: debug
debug: hypervisor ## as `run GUEST=NAME`, waiting for a debugger at port 1234 (gdb build/paravane.elf)
	@test -n '$(GUEST)' || { echo 'debug: name a guest: make debug GUEST=NAME' >&2; exit 1; }
	@$(MAKE) $(B)/guests/$(GUEST).elf
	$(Q)$(run_qemu) -s -S -kernel $(B)/paravane -append '$(PARAVANE)' -initrd '$(B)/guests/$(GUEST).elf' || test $$? = 1

.PHONY: iso
iso: CMDLINE = console=hvc0
iso: hypervisor ## makes build/paravane.iso, bootable by GRUB (multiboot2); GUEST=NAME puts a test guest in
	$(if $(GUEST),@$(MAKE) $(B)/guests/$(GUEST).elf,@$(MAKE) linux initramfs)
	$(call say,ISO,$(B)/paravane.iso)
	$(Q).make/iso $(B)/paravane.iso $(B)/paravane '$(PARAVANE)' '$(CMDLINE)' $(if $(GUEST),$(B)/guests/$(GUEST).elf,$(B)/vmlinux $(B)/initramfs.cpio.gz)

# ------------------------------------------------------------------------------------------------------------------- tests

# Each suite leaves its counts in build/results/SUITE.json.  All of them run, whatever fails; the last line sums them up.
suites := host abi fuzz guests bochs toolstack system

.PHONY: test
test: ## runs everything: host tests, ABI headers, test guests, Linux; the last line counts
	@rm -rf $(B)/results && mkdir -p $(B)/results
	@$(MAKE) setup || { tests/summary.py $(suites); exit 1; }
	@for suite in $(suites); do $(MAKE) test-$$suite || true; done; tests/summary.py $(suites)

.PHONY: check
check: test ## another name of `test`

.PHONY: test-host
test-host: $(B)/.setup ## runs the host unit tests (GoogleTest, with address and undefined-behaviour sanitizers)
	@rm -f $(B)/results/host.json
	@V=$(V) tests/host/run.py $(if $(FOLDER),--only $(FOLDER)) $(if $(FILTER),--filter '$(FILTER)')

.PHONY: check-abi test-abi
check-abi: $(B)/.setup ## compiles each header of the guest ABI alone, as C11 and C++, with gcc and clang
	@.make/check-abi $(B)/results/abi.json
test-abi: check-abi

.PHONY: test-fuzz
test-fuzz: $(B)/.setup ## runs the fuzz targets over the inputs that are kept
	@rm -f $(B)/results/fuzz.json
	@tests/fuzz/run.py --corpus

.PHONY: test-guests
test-guests: hypervisor ## boots each test guest in QEMU and judges its output (GUEST=NAME for one)
	@rm -f $(B)/results/guests.json
	@$(MAKE) $(if $(GUEST),$(GUEST:%=$(B)/guests/%.elf),guests)
	@tests/guests/run.py $(GUEST)

# Of the CPUs that Bochs has, one of Intel's with PCIDs.
BOCHS_CPU := corei7_skylake_x
.PHONY: test-bochs
test-bochs: hypervisor ## boots the test guests in Bochs, whose CPUs have PCIDs (BOCHS_CPU=MODEL: `bochs --help cpu` lists them)
	@rm -f $(B)/results/bochs.json
	@$(MAKE) guests
	@tests/guests/run.py --bochs $(BOCHS_CPU) $(GUEST)

.PHONY: conformance
conformance: ## shows what a hypervisor keeps of the guest ABI's rules: a table of the test guests' verdicts (IMAGE=build/paravane)
	$(if $(IMAGE),,@$(MAKE) hypervisor)
	@$(MAKE) guests
	@tests/guests/run.py --conformance $(if $(IMAGE),--image $(IMAGE))

.PHONY: test-toolstack
test-toolstack: $(B)/.setup ## runs the toolstack's unit tests
	@mkdir -p $(B)/results
	@rm -f $(B)/results/toolstack.json $(B)/results/toolstack-gtest.json
	@test -f $(B)/toolstack-tests/build.ninja || CC=$(CC) CXX=$(CXX) cmake -S toolstack -B $(B)/toolstack-tests -G Ninja -DPARAVANE_TESTS=ON >$(B)/toolstack-tests.log
	@ninja -C $(B)/toolstack-tests --quiet toolstack_test
	@$(B)/toolstack-tests/toolstack_test --gtest_brief=1 --gtest_output=json:$(B)/results/toolstack-gtest.json || true
	@tests/gtest_counts.py toolstack $(B)/results/toolstack-gtest.json $(B)/results/toolstack.json

.PHONY: test-system
test-system: ## boots Linux as dom0 and drives it
	@rm -f $(B)/results/system.json
	@if [ -x tests/system/run.py ]; then $(MAKE) hypervisor initramfs initramfs-debug disk tools selftests stress && $(MAKE) iso GUEST=start && tests/system/run.py; \
	else mkdir -p $(B)/results; echo '{"suite": "system", "passed": 0, "failed": 0, "skipped": 0}' >$(B)/results/system.json; \
	echo 'system: there are no tests with Linux yet'; fi

T ?= 60
.PHONY: fuzz
fuzz: $(B)/.setup ## runs each fuzz target of tests/fuzz/ for T=60 seconds (TARGET=NAME for one)
	@tests/fuzz/run.py --seconds $(T) $(TARGET)

.PHONY: bench
bench: ## what operations and a boot cost in dom0 and a domU, against native (CLOCK=icount or wall for one, ROWS=REGEX); build/bench.json
	@$(MAKE) hypervisor guests initramfs
	@tests/bench/run.py $(if $(CLOCK),--clock $(CLOCK)) $(if $(ROWS),--rows '$(ROWS)')
	$(if $(CLOCK)$(ROWS),,@tests/bench/boot_time.py --runs 3)

.PHONY: bench-boot
bench-boot: hypervisor linux ## boots the same kernel natively and as dom0, and compares
	@tests/bench/boot_time.py

.PHONY: format
format: ## formats the C++ of the tree with clang-format-19, where it is installed
	@find hypervisor tests toolstack -name '*.[ch]pp' -print0 | xargs -0r clang-format-19 -i

.PHONY: clean
clean: ## removes build/ (the kernel cache outside the tree stays)
	@rm -rf $(B)

-include $(shell find $(B)/hypervisor $(B)/guests/objects -name '*.d' 2>/dev/null)
