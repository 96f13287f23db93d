# Two commands matter: `make demo` shows a person, `make test` runs all checks.
# Every target may be run again; what is done already is not done twice.

VENV ?= .venv
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install -qq --disable-pip-version-check --no-compile \
       --constraint requirements/cpu.txt
DEMO ?= demo
GUI ?= build/gui
TRAINED ?= build/geometry-prior
MINUTES ?= 60
NEEDED_MB := 4000

# Python compiles torch's sources once and keeps what came of it, even where the environment says
# not to: without it each process takes ten seconds longer to start.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup demo addon bench train test test-blender test-gui fuzz lint clean
.DELETE_ON_ERROR:

help:
	@echo "make setup   the virtual environment $(VENV), the person models, the compiled kernels"
	@echo "make demo    setup, then a photo that scikit-image ships becomes a 3D person in $(DEMO)/"
	@echo "make test    setup with the test tools, then all checks"
	@echo "make lint    only the checks that run nothing"
	@echo "make bench   the kernels beside plain torch, Mitsuba 3 and dense tetrahedra (docs/performance.md)"
	@echo "make train PEOPLE=AVATARS WARDROBE=CLOTHES   the bundled geometry prior goes on learning (docs/geometry-prior.md)"
	@echo "make addon   the Blender add-on's zips, for all platforms, in dist/"
	@echo "make test-blender   the add-on's tests in Blender 4.2, 4.5, 5.0 and 5.2 (make test: 4.5 alone)"
	@echo "make test-gui       the add-on in a real Blender's window: needs Linux, root and debootstrap"

# ---- environment -----------------------------------------------------------------------------

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is missing: install it, as in 'apt install python3.11 python3.11-venv'." >&2; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed, but $(PYTHON) is older: set PYTHON=/path/to/python3.11." >&2; exit 2; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "Python's venv module is missing: install it, as in 'apt install python3.11-venv'." >&2; exit 2; }
	@test "$$(df -Pm . | awk 'NR == 2 { print $$4 }')" -ge $(NEEDED_MB) || { echo "$(NEEDED_MB) MB of free disk are needed here for the packages: free some space." >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml requirements/cpu.txt | $(BIN)/python
	$(PIP) --editable .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml requirements/cpu.txt | $(BIN)/python
	$(PIP) --editable ".[dev]"
	@touch $@ $(VENV)/.installed

# The models are a megabyte-sized download; the kernels take a minute to compile, once.
$(VENV)/.warm: $(VENV)/.installed $(wildcard geneman/kernels/*.py)
	$(BIN)/geneman weights get person
	$(BIN)/geneman doctor --warm >/dev/null
	@touch $@

setup: $(VENV)/.warm

# ---- what it is for --------------------------------------------------------------------------

$(DEMO)/astronaut.png: | $(VENV)/.installed
	@mkdir -p $(DEMO)
	$(BIN)/python -c "from PIL import Image; from skimage import data; Image.fromarray(data.astronaut()).save('$@')"

demo: setup $(DEMO)/astronaut.png
	$(BIN)/geneman reconstruct $(DEMO)/astronaut.png -o $(DEMO)/run --preset draft

addon: $(VENV)/.installed
	$(BIN)/python build_addon.py --all

# ---- checks ----------------------------------------------------------------------------------

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy geneman backend blender_addon build_addon.py
	$(BIN)/lint-imports

tests/gltf_validator/node_modules: tests/gltf_validator/package-lock.json
	@if command -v npm >/dev/null; then \
		npm ci --silent --no-audit --no-fund --prefix tests/gltf_validator && touch $@; \
	else \
		echo "npm is missing, so the Khronos validator's test is skipped."; \
	fi

test: $(VENV)/.installed-dev setup lint tests/gltf_validator/node_modules
	$(BIN)/python -m pytest
	$(BIN)/python -m tests.blender_versions 4.5

test-blender: $(VENV)/.installed-dev setup
	$(BIN)/python -m tests.blender_versions --all

test-gui: $(VENV)/.installed-dev setup
	$(BIN)/python -m tests.gui.debian $(GUI)
	GENEMAN_GUI=$(GUI) $(BIN)/python -m pytest tests/gui

# Minutes; `make test` has a short one.
fuzz: $(VENV)/.installed-dev
	$(BIN)/python -m tests.backend.fuzzing --messages 100000

# Minutes, and two processors that nobody else uses.
bench: $(VENV)/.installed-dev setup
	$(PIP) --editable ".[bench]"
	$(BIN)/python -m tests.benchmarks.kernels

# Goes on where it was stopped, or from the bundled weights; CUDA if there is any.
train: $(VENV)/.installed-dev setup
	@test -d "$(PEOPLE)" && test -d "$(WARDROBE)" || { echo "PEOPLE must be a folder of rigged avatars (.glb) and WARDROBE one of MakeHuman's clothes, but they are '$(PEOPLE)' and '$(WARDROBE)': run make train PEOPLE=... WARDROBE=..." >&2; exit 2; }
	$(PIP) --editable ".[train]"
	$(BIN)/geneman train geometry-prior --people "$(PEOPLE)" --wardrobe "$(WARDROBE)" -o "$(TRAINED)" \
		--minutes $(MINUTES) --start-from geneman/priors/weights/geometry.safetensors

clean:
	rm -rf $(VENV) .venv-blender* build dist $(DEMO) tests/gltf_validator/node_modules .mypy_cache .ruff_cache .pytest_cache
