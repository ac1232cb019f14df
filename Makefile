# Everything runs in .venv, made on first use. Targets: demo, test, lint, bench, clean.

PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
STAMP := $(VENV)/.installed

.PHONY: demo test lint bench clean

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --constraint constraints.txt --editable ".[torch,oracle,rtl,demo,test,lint]"
	touch $(STAMP)

demo: $(STAMP)
	$(RUN) -m hwsim demo

lint: $(STAMP)
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

test: lint
	$(RUN) -m pytest -n auto --dist worksteal

bench: $(STAMP)
	$(RUN) -m pytest tests/bench -o python_files="bench_*.py" --benchmark-only
	$(RUN) -m tests.bench.bench_pricing --out reports/bench
	$(RUN) -m tests.bench.bench_sweep --out reports/bench
	$(RUN) -m tests.bench.speed --out reports/bench

clean:
	rm -rf $(VENV) build dist *.egg-info
