# make demo | test | check | slow | e2e | benchmark | bench
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
DEMO ?= demo$(if $(SCALE),_$(SCALE))
STUDY = $(RUN) -m scripts.study run --study scripts/studies

.PHONY: help demo test check default slow e2e benchmark bench
help:            ## this list
	@grep -hE '^[a-z0-9]+: .*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## */\t/' | expand -t 14

$(VENV)/installed: requirements.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@

demo: $(VENV)/installed       ## phantom, lesion GAN, Pix2Pix, synthetic set, three U-Nets, report in demo/ (SCALE=tiny: minutes; published_masks)
	$(STUDY)/demo.json --out $(DEMO) --cores 2 $(if $(SCALE),--scale $(SCALE))

test: check default slow e2e  ## everything that must pass before a commit lands

check: $(VENV)/installed      ## lint and format
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

default: $(VENV)/installed    ## fast tests (< 90 s)
	$(RUN) -m pytest

slow: $(VENV)/installed       ## README commands, every bundle trained and resumed (< 12 min)
	$(RUN) -m pytest -m slow

e2e: $(VENV)/installed        ## the whole study on small phantoms (< 10 min)
	$(RUN) -m pytest -m e2e

benchmark: $(VENV)/installed  ## the headline on real brains and masks: REAL_DATA=DIR make benchmark (an hour, resumable; CORES=2)
	$(STUDY)/benchmark.json --out benchmark --cores $(or $(CORES),2)

bench: $(VENV)/installed      ## speed and memory against what users would run instead (docs/performance.md; half an hour, run it alone)
	$(RUN) -m scripts.bench
