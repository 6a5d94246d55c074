# `make demo` and `make test` need make, a C compiler and Python with its headers; nothing else
# by hand. PYTHON=... chooses the interpreter of a new environment, ARGS=... goes to the tool.
VENV ?= .venv
DIST ?= dist
BIN := $(VENV)/bin
EXTRAS := test,lint,cli,video,jit,report,dask,keras

# 3.15 is out until Numba and PyAV have wheels for it.
define SUITABLE
import ensurepip, os, sys, sysconfig, venv
header = os.path.join(sysconfig.get_path("include"), "Python.h")
sys.exit(not ((3, 11) <= sys.version_info < (3, 15) and os.path.exists(header)))
endef
export SUITABLE

.PHONY: demo test test-cuda lint bench wheel clean

demo: $(VENV)/.built
	$(BIN)/voxkern demo $(ARGS)

test: $(VENV)/.built
	$(BIN)/python -m pytest $(ARGS)

# The CUDA kernels alone: on a GPU where there is one, else in the simulator.
test-cuda: $(VENV)/.built
	$(BIN)/python -m pytest -k cuda $(ARGS)

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

bench: $(VENV)/.bench $(VENV)/.built
	cd asv_bench && $(abspath $(BIN))/asv machine --yes >/dev/null && \
	    $(abspath $(BIN))/asv run --python=same --show-stderr $(ARGS)

# The wheel is built from the sdist: what is tested is what is published.
wheel: $(VENV)/.installed
	$(BIN)/python -m pip install -qq build
	$(BIN)/python -m build --outdir $(DIST)

clean:
	rm -rf $(VENV) build dist src/*.egg-info asv_bench/.asv
	find kernels \( -name '*.so' -o -name '__pycache__' \) -exec rm -rf {} +

$(VENV)/.made:
	@for python in $(or $(PYTHON),python3 python3.13 python3.12 python3.11 python3.14 python); do \
	    $$python -c "$$SUITABLE" 2>/dev/null || continue; \
	    $$python -m venv --clear $(VENV) && touch $@ && exit 0; \
	done; \
	echo "no CPython from 3.11 to 3.14 with venv and headers among:" \
	    "$(or $(PYTHON),python3 python3.13 python3.12 python3.11 python3.14 python)." \
	    "Install python3-dev and python3-venv, or give one: make PYTHON=/path/to/python3" >&2; \
	exit 1

$(VENV)/.installed: $(VENV)/.made pyproject.toml setup.py
	@command -v $${CC:-cc} >/dev/null || command -v gcc >/dev/null || \
	    { echo "no C compiler found: install gcc or clang" >&2; exit 1; }
	$(BIN)/python -m pip install -qq "setuptools>=77" "cython>=3.1"
	$(BIN)/python -m pip install -qq --no-build-isolation -e ".[$(EXTRAS)]"
	@touch $@

$(VENV)/.built: $(VENV)/.installed $(wildcard $(addprefix kernels/native/,*.pyx *.pxi *.h include/*.h))
	$(BIN)/python setup.py -q build_ext --inplace
	@touch $@

$(VENV)/.bench: $(VENV)/.installed
	$(BIN)/python -m pip install -qq --no-build-isolation -e ".[bench]"
	@touch $@
