# One word for each habit; PYTHON=python3.12 chooses another interpreter.
#
#   build     evloop in a virtual environment of its own, under build/
#   test      all tests, on the release build
#   conformance   CPython's own asyncio tests alone
#   debug hard asan ubsan tsan   the tests in TESTS, on that build (see setup.py)
#   refleak   tests repeated, references counted (needs a debug build of Python)
#   nomem     operations repeated, with the allocator failing at each point
#   portable  the tests of TLS with the portable engine, on the debug build
#   fuzz      the model test, on many new sequences (FUZZ_ARGS=examples)
#   fuzz-tls  TLS with mutated records, on the asan build (FUZZ_ARGS=--help)
#   bench     the benchmarks, on every loop that can be installed
#   lint docs clean

PYTHON = python3
TESTS = tests/unit tests/spec tests/hostile
# The benchmarks' tests run programs that have no use for a special build.
NOT_THESE = --ignore-glob=tests/unit/test_benchmarks*.py
# Behaviour that is compared with asyncio's; the native types have tests of their own.
NOT_COUNTED = $(NOT_THESE) --ignore=tests/unit/test_task_allocations.py \
	--ignore-glob=tests/unit/test_sock_[!o]*.py \
	--ignore-glob=tests/unit/test_subprocess*.py \
	--ignore=tests/unit/test_getaddrinfo.py \
	--ignore=tests/unit/test_transport_datagram.py \
	--ignore=tests/unit/test_transport_pipe.py \
	--ignore=tests/unit/test_tls_engine.py
NO_HANG = -o faulthandler_timeout=120 -o faulthandler_exit_on_timeout=true
PYTEST_ARGS =

# Each build has a copy of the tree and a virtual environment, so that builds of
# several kinds, and for several interpreters, do not meet.
SOABI := $(shell $(PYTHON) -c 'import sysconfig; print(sysconfig.get_config_var("SOABI"))')
HOME_OF = build/$(SOABI)/$(1)
SOURCES = $(wildcard src/*.[ch] evloop/*.py* *.py *.toml *.rst)
FOLDERS = benchmarks docs tests tools
CHECKED = benchmarks evloop tests tools setup.py

# $(call in_tree,build): the start of a command line, in the tree of that build.
in_tree = rm -rf $(addprefix $(call HOME_OF,$(1))/tree/,$(FOLDERS)) \
	&& tar -c $(wildcard $(FOLDERS)) | tar -x -C $(call HOME_OF,$(1))/tree \
	&& cd $(call HOME_OF,$(1))/tree && PATH=$(CURDIR)/$(call HOME_OF,$(1))/venv/bin:$$PATH
runtime = $(shell $(CC) -print-file-name=lib$(1).so)

ASAN = PYTHONMALLOC=malloc ASAN_OPTIONS=detect_leaks=0 LD_PRELOAD=$(call runtime,asan)
UBSAN = UBSAN_OPTIONS=print_stacktrace=1 LD_PRELOAD=$(call runtime,ubsan)
TSAN = TSAN_OPTIONS=ignore_noninstrumented_modules=1:halt_on_error=1 \
	LD_PRELOAD=$(call runtime,tsan) setarch -R

build: $(call HOME_OF,release)/built

build/$(SOABI)/%/built: $(SOURCES)
	rm -rf $(@D)/tree
	mkdir -p $(@D)/tree
	tar -c --exclude='*.so' --exclude=__pycache__ \
		$(wildcard src evloop LICENSE *.py *.toml *.rst) | tar -x -C $(@D)/tree
	test -e $(@D)/venv/bin/pip || $(PYTHON) -m venv $(@D)/venv
	cd $(@D)/tree && EVLOOP_BUILD=$* ../venv/bin/pip install -q '.[test]'
	touch $@

test: build
	$(call in_tree,release) pytest $(PYTEST_ARGS)

conformance: build
	$(call in_tree,release) pytest tests/conformance $(PYTEST_ARGS)

debug hard: %: build/$(SOABI)/%/built
	$(call in_tree,$@) pytest $(TESTS) $(NOT_THESE) $(NO_HANG) $(PYTEST_ARGS)

asan: build/$(SOABI)/asan/built
	$(call in_tree,asan) $(ASAN) pytest $(TESTS) $(NOT_THESE) $(NO_HANG) $(PYTEST_ARGS)

ubsan: build/$(SOABI)/ubsan/built
	$(call in_tree,ubsan) $(UBSAN) pytest $(TESTS) $(NOT_THESE) $(NO_HANG) $(PYTEST_ARGS)

tsan: build/$(SOABI)/tsan/built
	$(call in_tree,tsan) $(TSAN) pytest $(TESTS) $(NOT_THESE) $(NO_HANG) $(PYTEST_ARGS)

# What counts the allocator's calls has nothing to do with references.
refleak: build/$(SOABI)/debug/built
	$(call in_tree,debug) python tools/refleak.py -q tests/unit $(NOT_COUNTED) \
		$(PYTEST_ARGS)

nomem: build/$(SOABI)/debug/built
	$(call in_tree,debug) python tools/nomem.py

portable: build/$(SOABI)/debug/built
	$(call in_tree,debug) EVLOOP_TLS=portable pytest tests/*/test_tls_*.py \
		$(NO_HANG) $(PYTEST_ARGS)

fuzz-tls: build/$(SOABI)/asan/built
	$(call in_tree,asan) $(ASAN) python tools/fuzz_tls.py $(FUZZ_ARGS)

fuzz: build/$(SOABI)/hard/built
	$(call in_tree,hard) python tools/fuzz.py $(FUZZ_ARGS)

bench: build
	cd $(call HOME_OF,release)/tree && ../venv/bin/pip install -q '.[bench]'
	$(call in_tree,release) python -m benchmarks $(BENCH_ARGS)

# The debug build is made with -Wall -Wextra -Werror.
lint: build/$(SOABI)/debug/built
	cd $(call HOME_OF,debug)/tree && EVLOOP_BUILD=debug \
		../venv/bin/pip install -q '.[lint]'
	$(eval BIN := $(call HOME_OF,debug)/venv/bin)
	$(BIN)/ruff check $(CHECKED)
	$(BIN)/ruff format --check $(CHECKED)
	$(BIN)/clang-format --dry-run -Werror src/*.[ch] benchmarks/*.[ch]
	$(BIN)/python tools/check_layers.py
	$(BIN)/cppcheck --quiet --error-exitcode=1 --std=c11 --library=python --force \
		'-DPy_TRASHCAN_BEGIN(op, dealloc)=' '-DPy_TRASHCAN_END=' \
		--inline-suppr --enable=warning,portability src
	include=$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("include"))'); \
	for file in src/*.c; do \
		$(CC) -std=c11 -O1 -fanalyzer -Wall -Wextra -Werror \
			-Wno-missing-field-initializers -isystem $$include \
			-c $$file -o /dev/null || exit 1; \
	done

docs: build
	cd $(call HOME_OF,release)/tree && ../venv/bin/pip install -q '.[docs]'
	$(call HOME_OF,release)/venv/bin/sphinx-build -W docs build/docs

clean:
	rm -rf build dist *.egg-info .hypothesis .pytest_cache .ruff_cache evloop/*.so
	find . -name __pycache__ -prune -exec rm -rf {} +

.PHONY: build test conformance debug hard asan ubsan tsan refleak nomem portable fuzz \
	fuzz-tls bench lint docs clean
.DELETE_ON_ERROR:
