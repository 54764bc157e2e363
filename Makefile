# Two commands do everything on a fresh machine: `make demo` and `make test`.
# They need Python 3.11.1 to 3.12 and nothing else; PYTHON=... chooses one.

SUITABLE := import sys; sys.exit(not (3, 11, 1) <= sys.version_info[:3] < (3, 13))
PYTHON ?= $(shell for p in python3 python3.12 python3.11; do \
	$$p -c '$(SUITABLE)' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin

.PHONY: demo story test check accept bench clean

# What privacy costs, and whether it holds: one model a column, its weights through every axis, by the
# commands that a user would type. A cell that fails does not stop the story; the report tells it, and
# then `demo` fails. FAST=1 tells less.
ifdef FAST
STORY := fast
EPSILON := 3
LESS := -s attack.candidates=400
IMAGES := 20
BITS := 2
else
STORY := story
EPSILON := 1,3,8
IMAGES := 100
BITS := 10
endif
LOOK := --attack --audit --cost stm32h743 --cost edgetpu $(LESS)

PAGE := runs/report.html
TOLD := runs/told.txt

# The last that the story says is its page, or what of it failed, which is make's last line then.
SAID = $(shell [ ! -e $(TOLD) ] || tail -n 1 $(TOLD) | grep . || echo no report)

demo: story
	$(if $(filter-out $(PAGE),$(SAID)),$(error $(SAID)))

story: .venv/installed
	@rm -f $(TOLD)
	$(BIN)/privet data fetch mnist
	-$(BIN)/privet sweep story --over budget.epsilon=$(EPSILON),none+training.gradient_norm=0.5 \
		$(LOOK) --infer ckks=$(IMAGES) --name $(STORY)
	-$(BIN)/privet sweep story-binary $(LOOK) --infer boolean=$(BITS) --name $(STORY)-binary
	$(BIN)/privet report $(STORY) $(STORY)-binary -o $(PAGE) --complete 2>&1 | tee $(TOLD)

test: .venv/installed
	$(BIN)/pytest

check: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python compose/pins.py check

# What takes too long for a test, as JSON: ACCEPT="accuracy" names the parts to run.
accept: .venv/installed
	$(BIN)/privet data fetch mnist
	$(BIN)/python tests/acceptance $(ACCEPT)

bench: .venv/installed
	$(BIN)/python tests/benchmarks

clean:
	rm -rf .venv

# Wheels alone, each with its hash, and nothing that is not listed: pip resolves nothing, and builds
# nothing but privet, with tools from the same list.
INSTALL := $(BIN)/pip install --disable-pip-version-check --quiet --progress-bar off --no-compile --no-deps

# What the rooms import is compiled to bytecode here, and not all of torch: where Python may not keep
# what it compiles (PYTHONDONTWRITEBYTECODE, a folder of another's) each start would do it again, and
# take 2.4 times as long.
COMPILE := import importlib, pkgutil; [importlib.import_module(found.name) \
	for room in ("privacy", "clients", "attacks", "server") \
	for found in pkgutil.walk_packages([room], room + ".") if found.name != "server.__main__"]

.venv/installed: pyproject.toml compose/pins.txt compose/pins-dev.txt
	@test -n "$(PYTHON)" || { echo "make: needs Python 3.11.1 to 3.12; set PYTHON=" >&2; exit 2; }
	$(PYTHON) -m venv .venv
	$(INSTALL) --require-hashes --only-binary :all: -r compose/pins.txt -r compose/pins-dev.txt
	$(INSTALL) --no-build-isolation -e .
	$(BIN)/pip check --disable-pip-version-check
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -c '$(COMPILE)'
	@touch $@
