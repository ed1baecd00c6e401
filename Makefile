# Two commands: `make book` and `make test`. Both work from a clean clone with make and Python 3.11, 3.12 or 3.13.
# The Python of .venv where there is one already, or else the first of these that runs.
PYTHON ?= $(shell for python in "$$(sed -n "s/^executable = //p" .venv/pyvenv.cfg 2>/dev/null)" python3.11 python3.12 python3.13; do \
  "$$python" -c "" 2>/dev/null && echo "$$python" && exit; done; echo python3)
BIN := .venv/bin
# What `make book` does differently: CHAPTERS="02 07" executes only these, FRESH=1 also what is kept, STORED=1 nothing;
# STRICT=1 takes a warning about a page for an error.
CHAPTERS ?=
FRESH ?=
STORED ?=
STRICT ?=
BOOK_FLAGS = --chapters "$(CHAPTERS)" $(if $(FRESH),--fresh) $(if $(STORED),--stored) $(if $(STRICT),--strict)
PYTEST_FLAGS ?=
STARTED := $(shell date +%s)

# Nothing downloads while the course runs; keys and telemetry of other tools play no part.
export HF_HUB_OFFLINE ?= 1
export HF_HUB_DISABLE_TELEMETRY = 1
export TOKENIZERS_PARALLELISM = false
# What is shown and tested are the numbers of a processor, also beside a graphics card. (make nano may use the card.)
book test-library test-chapters matrix machines alone: export CUDA_VISIBLE_DEVICES =
book test-library test-chapters matrix machines alone: export FTLIB_DEVICE = cpu
# Kernels take nothing from somebody's own settings.
export IPYTHONDIR := $(CURDIR)/.venv/ipython
# Plots look the same whatever settings somebody has at home, and a home that can't be written doesn't matter. The list of
# fonts is made with .venv: where it takes more than five seconds, Matplotlib says so in the middle of a chapter.
export MPLCONFIGDIR ?= $(CURDIR)/.venv/matplotlib

# The last three lines of a command that was called by itself: what was made, how long it took, what comes next.
told = $(if $(filter $@,$(MAKECMDGOALS)),@spent=$$(($$(date +%s) - $(STARTED))); echo "==> $(1)"; \
  echo "    It took $$((spent / 60)) min $$((spent % 60)) s."; echo "    Next: $(2)")

.PHONY: help setup book test test-library test-chapters lint matrix machines alone nano clean
.DEFAULT_GOAL := help

help: ## Show the commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 24

setup: ## Make .venv and install the course into it (PYTHON=python3.12 takes another Python)
	@"$(PYTHON)" install.py

.venv/installed: pyproject.toml constraints.txt
	@"$(PYTHON)" install.py

# A made-up key that must not be found anywhere in the site: nothing of the environment of a build gets into its pages.
# Always the same, since pages and executions are kept from build to build; one word, as a search index would hold it.
book: export FTLIB_CANARY_KEY := canary4be09d7713c2f586
book: .venv/installed ## Execute the chapters that changed, and build the book (CHAPTERS="02 07", FRESH=1, STORED=1)
	@$(BIN)/python -m book.build $(BOOK_FLAGS) --pytest-flags="$(PYTEST_FLAGS)"

test: lint test-library test-chapters ## Check style and types, test the library and every chapter
	@spent=$$(($$(date +%s) - $(STARTED))); \
	echo "==> All tests passed: style and types, the library, every chapter against its stored outputs."; \
	echo "    They took $$((spent / 60)) min $$((spent % 60)) s."; \
	echo "    Next: make book builds the pages; .venv/bin/jupyter lab chapters opens the chapters."

lint: .venv/installed ## ruff, mypy, and nothing that Python 3.10 doesn't know
	@echo "==> Style and types"
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/vermin --quiet --target=3.10- --violations --no-tips ftlib
	@$(BIN)/mypy
	$(call told,Style and types are in order.,make test-library runs the tests.)

test-library: .venv/installed ## pytest: the library and its doctests
	@echo "==> Library tests and doctests"
	@set -- $$($(BIN)/python -m book.machine tests); \
	OMP_NUM_THREADS=$$2 $(BIN)/python -m pytest $(PYTEST_FLAGS) -m "not book" --numprocesses $$1 --dist worksteal --durations 5
	$(call told,The library's tests passed.,make test-chapters runs the chapters; make test does both.)

test-chapters: .venv/installed ## nbval: run every chapter and compare with the stored outputs
	@echo "==> Chapters (each is run from its first cell to its last, as many at once as cores and memory allow)"
	@set -- $$($(BIN)/python -m book.machine chapters); \
	OMP_NUM_THREADS=$$2 $(BIN)/python -m pytest -o addopts=-ra -p tests.quiet_chapters --nbval --nbval-cell-timeout 14400 --nbval-kernel-startup-timeout 600 chapters --numprocesses $$1 --dist loadfile --no-loadscope-reorder --durations 40 $(PYTEST_FLAGS)
	$(call told,Every chapter gives its stored outputs.,make book builds the pages.)

matrix: .venv/installed ## Compat and trainer tests, and chapter 8, against five releases of transformers
	@echo "==> Each release in an environment of its own, in .matrix (the first time: minutes each)"
	@$(BIN)/python tests/matrix.py
	$(call told,Every release of the matrix passed.,its environments stay in .matrix for the next call.)

machines: .venv/installed ## The tests and chapters as a dozen other machines would run them (hours; ONLY="path lang-c" runs some)
	@echo "==> Results go to _build/machines as they come: a second call goes on where the first was stopped"
	@$(BIN)/python -m tests.machines $(ONLY)
	$(call told,Every variant passed; the results lie in _build/machines.,a second call runs what changed since.)

alone: .venv/installed ## Three chapters in empty folders, beside the wheel, in a new environment (PYTHON=python3.12 too; COLAB=1 as in Colab)
	@$(BIN)/python tests/alone.py --python "$(PYTHON)" $(if $(COLAB),--colab)
	$(call told,Each of these chapters runs alone beside the wheel.,make alone PYTHON=python3.12 tries another Python.)

nano: .venv/installed ## Repeat nano's pretraining (hours; a second call resumes)
	@echo "==> Pretraining nano. Checkpoints go to runs/nano; stop with Ctrl-C and call again to go on"
	@$(BIN)/ftlib pretrain --run-folder runs/nano --out runs/nano/model --packages constraints.txt

clean: ## Remove what was built (not .venv, not runs)
	@rm -rf _build .pytest_cache .mypy_cache .ruff_cache
