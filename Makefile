# make report     redraws the pictures and pages from the published results
# make report RUNS=mine  trains both networks yourself; pictures and pages go to mine/
# make test       installs, checks style, runs the tests
# make demo       the same on scikit-learn's digits: no download, a few minutes, into demo/
# make original   the original experiment, trained by you, into original/: hours on two cores
# make study      trains what the comparison over label budgets and seeds lacks; resumes
# make reproduce  trains seed 0 again and compares it with the published results
# make benchmark  how fast it trains, beside other libraries' loops
#
# DATA_DIR=...  a folder that holds FashionMNIST/raw/*.gz, for a machine without internet
# PYTHON=...    the Python to make the environment with

PYTHON ?= python3
DATA_DIR ?= data
RUNS ?=
SEEDS ?= 1
BIN := .venv/bin
DATA := --data-dir $(DATA_DIR)

.PHONY: report test demo original study reproduce benchmark
.DELETE_ON_ERROR:

# A finished run is left alone, so the scripts are always called.
report: .venv/installed
ifneq ($(RUNS),)
	$(BIN)/python train_baseline.py $(DATA) --runs-dir $(RUNS)
	$(BIN)/python pretrain_autoencoder.py $(DATA) --runs-dir $(RUNS)
	$(BIN)/python train_pretrained.py $(DATA) --runs-dir $(RUNS)
endif
	$(BIN)/python plot.py $(DATA) $(if $(RUNS),--runs-dir $(RUNS))

DEMO := --dataset digits --runs-dir demo
demo: .venv/installed
	$(BIN)/python train_baseline.py $(DEMO)
	$(BIN)/python pretrain_autoencoder.py $(DEMO)
	$(BIN)/python train_pretrained.py $(DEMO)
	$(BIN)/python study.py $(DEMO) --questions original --seeds 1
	$(BIN)/python plot.py --runs-dir demo

test: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m pytest -n auto

# QUESTION=original-wide for AlexNet's own width.
QUESTION ?= original
original: .venv/installed
	$(BIN)/python study.py $(DATA) --runs-dir original --questions $(QUESTION) --seeds $(SEEDS)
	$(BIN)/python plot.py $(DATA) --runs-dir original

study: .venv/installed
	$(BIN)/python study.py $(DATA)

# As the published runs of seed 0 were trained; a test holds it against their rows.
AS_PUBLISHED := --device cpu --threads 1 --precision fp32
AGAIN := $(DATA) --runs-dir reproduced $(AS_PUBLISHED)
reproduce: .venv/installed
	$(BIN)/python train_baseline.py $(AGAIN)
	$(BIN)/python pretrain_autoencoder.py $(AGAIN)
	$(BIN)/python train_pretrained.py $(AGAIN)
	$(BIN)/python -m report.reproduction

benchmark: .venv/installed
	$(BIN)/python benchmark.py $(DATA)
	$(BIN)/python benchmark.py $(DATA) --time-to-accuracy
	$(BIN)/python plot.py $(DATA)

.venv/installed: requirements.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -r requirements.txt
	touch $@

.venv/installed-dev: requirements-dev.txt .venv/installed
	$(BIN)/python -m pip install --quiet -r requirements-dev.txt
	touch $@
