# make demo   the main job: a sweep over stages, replicas and staleness on embedded data, and its table
# make test   the test suite, in which grids of equality are covered pair by pair: at most 5 minutes on two cores
# make test-all  what the suite leaves out: the full products of those grids, and soak tests; half an hour of two cores
# make check  formatter, linter and type checker alone
# make results  the committed tables of the embedded data, by DVC; what is there already is kept
# make benchmark   every method on ResNet-20 in both precisions, a VGG, a wide ResNet and a GPT: results/benchmark*.csv, two and a
#                  half hours of an idle machine; python -m bench benchmark measures the first alone
# make gpu-check   the engine on a GPU: equality, and results/gpu/; without one it says so and writes nothing

PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
# 152 updates of 32 windows of 128 symbols.
LANGUAGE := model=gpt model.layers=4 model.width=128 model.context=128 batch_size=32 data=markov data.length=630000 \
  data.validation=0.0 data.test=0.01

.PHONY: demo test test-all check results benchmark gpu-check clean

demo: $(VENV)/installed
	$(RUN) -m bench -m +experiment=grid seed=0 records=null

test: $(VENV)/installed
	$(RUN) -m pytest

test-all: $(VENV)/installed
	$(RUN) -m pytest -m full

check: $(VENV)/installed
	$(RUN) -m ruff format --check .
	$(RUN) -m ruff check .
	$(RUN) -m mypy

results: $(VENV)/installed
	PATH="$(CURDIR)/$(VENV)/bin:$$PATH" dvc repro

benchmark: $(VENV)/installed
	$(RUN) -m bench benchmark --rounds 3
	$(RUN) -m bench benchmark --rounds 4 precision=bfloat16
	$(RUN) -m bench benchmark --rounds 3 model=vgg data.train_size=5120
	$(RUN) -m bench benchmark --rounds 3 model=wide_resnet model.widen=2 data.train_size=5120
	$(RUN) -m bench benchmark --rounds 2 $(LANGUAGE)

gpu-check: $(VENV)/installed
	$(RUN) -m pytest -n 0 tests/test_gpu.py
	$(RUN) -m bench gpu

# pins.txt makes the environment repeatable; without it (pip install -e .) newer releases are taken.
$(VENV)/installed: pyproject.toml pins.txt
	$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit(f"Python 3.11 or later is needed, not {sys.version.split()[0]}; set PYTHON=...")'
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --progress-bar off --constraint pins.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) runs mlflow.db* mlartifacts
