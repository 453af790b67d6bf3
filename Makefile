# make report   the experiment: installs, runs what is missing, draws, writes README's results
# make demo     the same pipeline on scikit-learn's digits, without a download, into demo/
# make test     installs, lint, tests
# make ablation the runs behind README's table of ingredients
# make study    the comparison over seeds and label fractions: hours, and goes on where it was cut
# make speed    the benchmark behind README's table of speeds
#
# DATA_DIR=...  a folder that holds FashionMNIST/raw/*.gz, for a machine without internet
# PYTHON=...    the Python to make the environment with

PYTHON ?= python3
DATA_DIR ?= data
BIN := .venv/bin

RESULT := seed0/metrics.json
ENCODER := mask-normalised
BASELINE := runs/baseline/labels100/$(RESULT)
AUTOENCODER := runs/autoencoder/$(ENCODER)/$(RESULT)
PRETRAINED := runs/pretrained/$(ENCODER)-labels100/$(RESULT)

.PHONY: report demo test ablation study speed
.DELETE_ON_ERROR:

report: .venv/installed $(BASELINE) $(AUTOENCODER) $(PRETRAINED)
	$(BIN)/python plot.py --data-dir $(DATA_DIR)

$(BASELINE): | .venv/installed
	$(BIN)/python train_baseline.py --data-dir $(DATA_DIR)

$(AUTOENCODER): | .venv/installed
	$(BIN)/python pretrain_autoencoder.py --data-dir $(DATA_DIR)

# Weights are not in git, so the encoder is made first where only its results are there.
$(PRETRAINED): | $(AUTOENCODER)
	$(BIN)/python pretrain_autoencoder.py --data-dir $(DATA_DIR)
	$(BIN)/python train_pretrained.py --data-dir $(DATA_DIR)

# Digits have a left and a right, so they are not mirrored.
DIGITS := --dataset digits --width 0.25 --flip none --shift 1 --run-dir demo/runs
demo: .venv/installed
	$(BIN)/python train_baseline.py $(DIGITS)/baseline/labels100/seed0
	$(BIN)/python pretrain_autoencoder.py $(DIGITS)/autoencoder/$(ENCODER)/seed0
	$(BIN)/python train_pretrained.py --encoder demo/runs/autoencoder/$(ENCODER)/seed0/encoder.pt \
		$(DIGITS)/pretrained/$(ENCODER)-labels100/seed0
	$(BIN)/python plot.py --runs-dir demo/runs --img-dir demo/img --readme demo/README.md

test: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m pytest

# Each variant changes one thing, at half the default width to save time. Validation decides; the
# test set is not read. What the width brings, the baseline and twice its width show.
ABLATION_full :=
ABLATION_flip-none := --flip none
ABLATION_shift-0 := --shift 0
ABLATION_label-smoothing-0 := --label-smoothing 0
ABLATION_schedule-constant := --schedule constant
ABLATION_width-1 := --width 1
ABLATIONS := full flip-none shift-0 label-smoothing-0 schedule-constant width-1

ablation: $(ABLATIONS:%=runs/ablation/%/$(RESULT))

runs/ablation/%/$(RESULT): | .venv/installed
	$(BIN)/python train_baseline.py --data-dir $(DATA_DIR) --skip-test --width 0.25 \
		--average-shift 0 $(ABLATION_$*) --run-dir runs/ablation/$*/seed0

study: .venv/installed
	$(BIN)/python study.py --data-dir $(DATA_DIR)

speed: .venv/installed
	$(BIN)/python benchmark.py --data-dir $(DATA_DIR)

.venv/installed: requirements.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -r requirements.txt
	touch $@

.venv/installed-dev: requirements-dev.txt .venv/installed
	$(BIN)/python -m pip install --quiet -r requirements-dev.txt
	touch $@
