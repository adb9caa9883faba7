# `make demo` and `make test` set everything up in .venv and need only python3.11+, g++, make and perl.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
OUT := build

.PHONY: demo test docs mutants coverage bitstream setup clean

setup: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --upgrade pip
	$(BIN)/pip install --quiet --disable-pip-version-check -e .[dev]
	touch $@

demo: setup
	$(BIN)/python -m hw.build --board arty_a7 --out $(OUT)/arty_a7
	$(BIN)/python -m firmware profile examples/digits/digits.safetensors --device sim:arty_a7 \
		--images examples/digits/images.npy --labels examples/digits/labels.npy --count 40 --batch 4 \
		--check --logits $(OUT)/logits.npy --report $(OUT)/run.json

test: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m hw.build.emit --check
	$(BIN)/pytest -n 2

# The site; a warning is an error. (The variable silences the theme's advertisement.)
docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --site-dir $(OUT)/site

# Mutants of the gateware against its tests: hours of two cores, so not part of `make test`; goes on where it stopped.
mutants: setup
	$(BIN)/python -m bench mutants --count 9 --results $(OUT)/mutants.jsonl --docs docs/trust.md

# Lines and branches of the Python that the tests execute: the table in docs/trust.md; a page per file in build/coverage.
coverage: setup
	$(BIN)/pytest -n 2 --cov --cov-report=html:$(OUT)/coverage --cov-report=json:$(OUT)/coverage.json
	$(BIN)/python -m bench executed $(OUT)/coverage.json --docs docs/trust.md

# The ULX3S from gateware to bitstream with pip's tools alone: half an hour of one core, so not part of `make test`.
bitstream: setup
	$(BIN)/pip install --quiet --disable-pip-version-check -e .[boards]
	$(BIN)/python -m hw.build --board ulx3s_85f --toolchain nextpnr-ecp5 --out $(OUT)/ulx3s_85f

clean:
	rm -rf $(OUT) $(VENV)
