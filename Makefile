# make demo | label | test | check | slow | e2e | benchmark | bench
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
DEMO ?= demo$(if $(SCALE),_$(SCALE))
STUDY = $(RUN) -m scripts.study run --study scripts/studies

.PHONY: help demo label test check default slow e2e benchmark bench
help:            ## this list
	@grep -hE '^[a-z0-9]+: .*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## */\t/' | expand -t 14

$(VENV)/installed: requirements.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@

$(VENV)-label/installed: requirements-monailabel.txt
	$(PYTHON) -m venv $(VENV)-label
	$(VENV)-label/bin/pip install --quiet --disable-pip-version-check -r requirements-monailabel.txt
	$(VENV)-label/bin/pip install --quiet --disable-pip-version-check --no-deps monailabel==0.8.5
	touch $@

demo: $(VENV)/installed       ## phantom, lesion GAN, Pix2Pix, synthetic set, three U-Nets, report in demo/ (SCALE=tiny: minutes; published_masks)
	$(STUDY)/demo.json --out $(DEMO) --cores 2 $(if $(SCALE),--scale $(SCALE))

label: $(VENV)/installed $(VENV)-label/installed label/app label/images  ## MONAI Label on 127.0.0.1:8000 with what demo/ trained (else a tiny demo: minutes)
	$(RUN) -m scripts.label serve --app label/app --studies label/images

label/study:
	mkdir -p label
	[ -d demo/report ] || $(MAKE) demo SCALE=tiny
	ln -sfn ../$$([ -d demo/report ] && echo demo || echo demo_tiny) $@

label/dist/stroke_unet: | label/study
	$(RUN) -m scripts.package release stroke_unet --model label/study/runs/clinical_seed1 --out label/dist

label/dist/pix2pix_itm: | label/study
	$(RUN) -m scripts.package release pix2pix_itm --model label/study/runs/pix2pix_itm --out label/dist

label/app: | label/dist/stroke_unet label/dist/pix2pix_itm
	$(RUN) -m scripts.label app --bundles stroke_unet,pix2pix_itm --dist label/dist --out label/app

label/images: | label/study
	mkdir -p $@ && cp label/study/data/images/stroke-*.nii.gz $@

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
