# Two commands for a newcomer: `make search SPACE=lavit_split` and `make test`. `make help` lists the rest.
# The first one makes .venv and installs into it; after that, only a change of pyproject.toml or constraints.txt does.

SHELL := /bin/bash
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# The first interpreter that is new enough; `make PYTHON=/path/to/python3.12 ...` names one.
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
VENV ?= .venv
BIN := $(VENV)/bin
NAS := $(BIN)/nas

# One --plugin for each word of PLUGIN, as it is written: recipes turn the expansion of * and ? off (set -f).
PLUGINS = $(if $(PLUGIN),$$(printf ' --plugin %s' $$PLUGIN))

# No character in a knob's value is special: make takes it as it is written ($x and $(...) stay what they are), and it
# reaches the shell as an environment variable. ARGS is written into the shell's command, where quotes and $ count.
SPACE ?= lavit_split
KNOBS := SPACE MODEL DATA TRIALS RUN START SET TABLE ONLY PLUGIN
$(foreach knob,$(KNOBS) RAY_ADDRESS ARGS,$(eval override $(knob) := $$(value $(knob))))
export $(KNOBS)
ifneq ($(strip $(RAY_ADDRESS)),)
export RAY_ADDRESS
else
unexport RAY_ADDRESS
endif

define HELP
make search SPACE=lavit_split   search a space of search_spaces/ (or a path to a YAML file); again with the same RUN: resumes
make convert MODEL=winner.yaml  which of its layers may drop softmax attention, and what that costs (DATA=, RUN=, SET=)
make ablate TABLE=lavit_parts    an ablation of ablations/ (or a path): arms × seeds, one table in four formats
make retrain RUN=name            the winners of a search again, on training and validation images, 3 seeds, tested once
make bench                      speed of the blocks against what they reproduce; ONLY=blocks_less for a group,
                                ARGS="--device cuda --dtype bfloat16 --compile" on a GPU
make gpu-check                  what only a GPU can show, check by check, with what to do (ONLY=timing for one,
                                ARGS=--rehearse for the CPU in its place)
make report RUN=name            tables, figures and report.html of results/name from its files
make docs                       the documentation as pages, into site/
make test                       the tests (ARGS="-k genome" is passed to pytest)
make fuzz                       20,000 mutated YAML files: each is read or refused, in less than 5 seconds
make lint                       ruff and mypy          make format  rewrites the code as ruff has it
make install                    .venv with the package; the other targets call it
make clean                      removes .venv and caches; results/ stays

Knobs of search:
  SPACE=lavit_split             name of a file in search_spaces/, or a path
  DATA=digits                   or cifar10, cifar100, fashion_mnist, ..., imagefolder:PATH, parquet:PATH,
                                webdataset:PATH; for convert also images:PATH, without labels
  TRIALS=32                     how many trials the run has in the end
  RUN=name                      results/name; left out, it is named after the space and the data
  START=winner.yaml             a trained model: every trial begins with its weights, and its genome is the base
                                (also timm:NAME@FILE, local-dir:FOLDER)
  SET="training.epochs=30 budget.macs=2e8"    any key of the space, by its dotted path
  PLUGIN="my_block.py ..."      blocks, metrics, samplers, schedulers, data sources of your own (docs/extending.md)
  RAY_ADDRESS=host:6379         an existing Ray cluster; left out, this machine
Any target: PYTHON=python3.12   the interpreter that .venv is made with (3.11 or newer)
Knobs are taken as they are written. ARGS, PYTHON and VENV are parts of shell commands: let nobody else write them.

`nas` exits with 0 (done), 1 (a bug), 2 (a mistake in the input), or 130, 143, 129 (interrupted by Ctrl-C, SIGTERM,
SIGHUP); make prints that code ("Error 2") and itself exits with 2 on any of them. Call $(NAS) directly where a script needs the code.
endef

.DELETE_ON_ERROR:
.PHONY: help install search convert ablate retrain bench gpu-check report docs test fuzz lint format clean

help:
	$(info $(HELP))
	@:

search: $(VENV)/.installed
	@set -f; $(NAS) search "$$SPACE" $(if $(DATA),--data "$$DATA") $(if $(TRIALS),--trials "$$TRIALS") \
		$(if $(RUN),--run "$$RUN") $(if $(START),--start "$$START") $(if $(SET),--set "$$SET") $(PLUGINS)

convert: require-MODEL $(VENV)/.installed
	@set -f; $(NAS) convert "$$MODEL" $(if $(DATA),--data "$$DATA") $(if $(RUN),--run "$$RUN") $(if $(SET),--set "$$SET") $(PLUGINS)

ablate: require-TABLE $(VENV)/.installed
	@set -f; $(NAS) ablate "$$TABLE" $(if $(DATA),--data "$$DATA") $(if $(RUN),--run "$$RUN") \
		$(if $(START),--start "$$START") $(if $(SET),--set "$$SET") $(PLUGINS)

retrain: require-RUN $(VENV)/.installed
	@set -f; $(NAS) retrain "$$RUN" $(if $(SET),--set "$$SET") $(PLUGINS)

bench: $(VENV)/.installed
	@$(BIN)/python -m benchmarks $(if $(ONLY),--only "$$ONLY") $(ARGS)

gpu-check: $(VENV)/.installed-dev
	@$(BIN)/python -m benchmarks.gpu $(if $(ONLY),--only "$$ONLY") $(ARGS)

report: require-RUN $(VENV)/.installed
	@set -f; $(NAS) report "$$RUN" $(PLUGINS)

docs: $(VENV)/.installed-dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict
	@echo "site/index.html: open it, or with search: $(BIN)/python -m http.server --bind 127.0.0.1 --directory site"

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest $(ARGS)

fuzz: $(VENV)/.installed-dev
	$(BIN)/python -m tests.fuzz 20000

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy nas

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

install: $(VENV)/.installed

require-%:
	@[ -n "$$$*" ] || { echo "make $(MAKECMDGOALS): $*= is missing; see make help" >&2; exit 2; }

$(VENV)/.installed: $(BIN)/python pyproject.toml constraints.txt
	@echo "Installing into $(VENV) (once; some gigabytes, most of it torch)"
	$(BIN)/python -m pip install --disable-pip-version-check --constraint constraints.txt --editable .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python -m pip install --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

$(BIN)/python:
	@[ -n "$(PYTHON)" ] || { echo "Python 3.11 or newer is needed, and none was found on PATH." \
		"Install one, or name it: make PYTHON=/path/to/python3.12" >&2; exit 2; }
	@"$(PYTHON)" -c 'import sys; v = sys.version_info; v < (3, 11) and sys.exit( \
		f"Python 3.11 or newer is needed, and {sys.executable} is {v[0]}.{v[1]}. Name another: make PYTHON=python3.12")'
	@"$(PYTHON)" -c 'import ensurepip' 2>/dev/null || { echo "$(PYTHON) cannot make virtual environments:" \
		"its ensurepip module is missing (on Debian and Ubuntu: apt install python3-venv)" >&2; exit 2; }
	"$(PYTHON)" -m venv $(VENV)

clean:
	rm -rf $(VENV) site .pytest_cache .mypy_cache .ruff_cache .hypothesis
