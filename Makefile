# Each target first makes .venv and installs what it needs; once that is done, a second call starts at once.
# Another interpreter: make test PYTHON=/path/to/python3.12

PYTHON ?= $(shell for candidate in python3.13 python3.12 python3.11 python3.10 python3; do \
	"$$candidate" -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 10))' 2>/dev/null \
	&& { echo "$$candidate"; break; }; done)
install = .venv/bin/python -m pip install --disable-pip-version-check -c constraints.txt -e
pytest = .venv/bin/python -m pytest

.PHONY: help demo test lint docs bench
.NOTPARALLEL:

help:
	@echo "make demo     generated pictures in, geometry out"
	@echo "make test     the test suite, then the compile tests in a session of their own"
	@echo "make lint     formatting, lint and types"
	@echo "make docs     the documentation, into site/"
	@echo "make bench    speed and memory of a small preset, and of the rasteriser"

demo: .venv/.core
	@.venv/bin/anyview demo

# torch.compile(fullgraph=True) cannot trace the shape checks that addopts switches on.
test: .venv/.dev
	$(pytest)
	$(pytest) -o addopts="--strict-markers --strict-config -p no:dash" -m compiled

lint: .venv/.dev
	.venv/bin/ruff format --check
	.venv/bin/ruff check
	.venv/bin/mypy

docs: .venv/.docs
	.venv/bin/mkdocs build --strict

bench: .venv/.core
	.venv/bin/python benchmarks/speed.py
	.venv/bin/python benchmarks/memory.py
	.venv/bin/python benchmarks/rasterize.py

# Not .venv/bin/python: pip comes last, so an interrupted call is taken up again.
.venv/bin/pip:
	@test -n "$(PYTHON)" || { echo "anyview needs Python 3.10 or newer with the venv and ensurepip modules (Debian:" \
		"apt install python3-venv); found none on PATH. Say which with: make PYTHON=/path/to/python3" >&2; exit 1; }
	$(PYTHON) -m venv .venv

.venv/.core: pyproject.toml constraints.txt | .venv/bin/pip
	$(install) .
	@touch $@

.venv/.dev .venv/.docs: .venv/.%: pyproject.toml constraints.txt | .venv/bin/pip
	$(install) ".[$*]"
	@touch $@
