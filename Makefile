# Two commands do everything on a fresh machine: `make demo` and `make test`.
# They need Python 3.11.1 to 3.12 and nothing else; PYTHON=... chooses one.

SUITABLE := import sys; sys.exit(not (3, 11, 1) <= sys.version_info[:3] < (3, 13))
PYTHON ?= $(shell for p in python3 python3.12 python3.11; do \
	$$p -c '$(SUITABLE)' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin

.PHONY: demo test check bench clean

demo: .venv/installed
	$(BIN)/privet data fetch mnist
	$(BIN)/privet show $$($(BIN)/privet run dp)

test: .venv/installed
	$(BIN)/pytest

check: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: .venv/installed
	$(BIN)/python tests/benchmarks

clean:
	rm -rf .venv

.venv/installed: pyproject.toml compose/constraints.txt
	@test -n "$(PYTHON)" || { echo "make: needs Python 3.11.1 to 3.12; set PYTHON=" >&2; exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --disable-pip-version-check --quiet --progress-bar off \
		-c compose/constraints.txt -e '.[dev]'
	@touch $@
