# make report     the experiment: installs, runs what is missing of seed 0, draws, writes the pages
# make test       installs, checks style, runs the tests
# make demo       the report on scikit-learn's digits, without a download, into demo/
# make study      trains what the comparison over budgets and seeds lacks: many hours; resumes
# make reproduce  trains seed 0 of the report again and compares it with the published runs
# make benchmark  how fast it trains, beside other libraries' loops
#
# DATA_DIR=...  a folder that holds FashionMNIST/raw/*.gz, for a machine without internet
# RUNS=...      a folder of your own runs, instead of the published ones in runs/; its pages go there
# PYTHON=...    the Python to make the environment with

PYTHON ?= python3
DATA_DIR ?= data
RUNS ?= runs
BIN := .venv/bin
PLACES := --data-dir $(DATA_DIR) --runs-dir $(RUNS)
# The published runs' pages lie here, other runs' beside them: nobody's runs replace the published.
PAGES := --pages-dir $(if $(filter runs runs/,$(RUNS)),.,$(RUNS))

.PHONY: report test demo study reproduce benchmark
.DELETE_ON_ERROR:

# A finished run is left alone, so the scripts are always called. Most weights are not in git:
# what is finished without them is not run again, unless something starts from it.
report: .venv/installed
	$(BIN)/python train_baseline.py $(PLACES)
	$(BIN)/python pretrain_autoencoder.py $(PLACES)
	$(BIN)/python train_pretrained.py $(PLACES)
	$(BIN)/python plot.py $(PLACES) $(PAGES)

DEMO := --dataset digits --runs-dir demo/runs
demo: .venv/installed
	$(BIN)/python train_baseline.py $(DEMO)
	$(BIN)/python pretrain_autoencoder.py $(DEMO)
	$(BIN)/python train_pretrained.py $(DEMO)
	$(BIN)/python plot.py --runs-dir demo/runs --pages-dir demo

test: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m pytest -n auto

study: .venv/installed
	$(BIN)/python study.py $(PLACES)

# As config.json of the published runs says; a test holds it against them.
AS_PUBLISHED := --device cpu --threads 1 --precision fp32
AGAIN := --data-dir $(DATA_DIR) --runs-dir reproduced $(AS_PUBLISHED)
reproduce: .venv/installed
	$(BIN)/python train_baseline.py $(AGAIN)
	$(BIN)/python pretrain_autoencoder.py $(AGAIN)
	$(BIN)/python train_pretrained.py $(AGAIN)
	$(BIN)/python -m report.reproduction --runs-dir $(RUNS)

benchmark: .venv/installed
	$(BIN)/python benchmark.py $(PLACES)
	$(BIN)/python benchmark.py $(PLACES) --time-to-accuracy
	$(BIN)/python plot.py $(PLACES) $(PAGES)

.venv/installed: requirements.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -r requirements.txt
	touch $@

.venv/installed-dev: requirements-dev.txt .venv/installed
	$(BIN)/python -m pip install --quiet -r requirements-dev.txt
	touch $@
