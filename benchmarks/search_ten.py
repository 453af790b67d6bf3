"""The search beside ten epochs of `--preset fast`: one change at a time, two seeds.

Validation accuracy alone; the test set is not read. Each result is a line of the file as it comes
in; what is in it is not trained again.

    python -m benchmarks.search_ten --data-dir data --out search.jsonl
"""

import argparse
import json
import time
from itertools import product
from pathlib import Path

import training
from benchmarks.contenders import new_task, train
from data import load_dataset
from harness.compute import set_up_compute
from models import hidden_filters
from recipes import ClassifierRecipe

SEEDS = (100, 101)
USUAL = training.MUON_RATE
# name: options beside the preset's, Muon's rate as a multiple of Adam's
VARIANTS = {
    "the preset": ({}, USUAL),
    "twice Muon's rate": ({}, 2 * USUAL),
    "half Muon's rate": ({}, USUAL / 2),
    "a quarter of Muon's rate": ({}, USUAL / 4),
    "half the rates": ({"learning_rate": 2e-3}, USUAL),
    "a quarter of the rates": ({"learning_rate": 1e-3}, USUAL),
    "half the rates, shifts by up to 1": ({"learning_rate": 2e-3, "shift": 1}, USUAL),
    "batch 64, 0.7 of the rates": ({"batch_size": 64, "learning_rate": 2.8e-3}, USUAL),
    "label smoothing 0": ({"label_smoothing": 0.0}, USUAL),
    "Muon for the first convolution, too": ({}, USUAL),
    "3 epochs: the preset": ({"epochs": 3}, USUAL),
    "3 epochs: 0.7 of the rates": ({"epochs": 3, "learning_rate": 2.8e-3}, USUAL),
    "3 epochs: half the rates": ({"epochs": 3, "learning_rate": 2e-3}, USUAL),
    "3 epochs: a quarter of the rates": ({"epochs": 3, "learning_rate": 1e-3}, USUAL),
}
BASE = ClassifierRecipe.presets["fast"] | {"epochs": 10, "validations": 1, "skip_test": True}


def accuracy(name, seed, dataset, compute):
    options, training.MUON_RATE = VARIANTS[name]
    training.hidden_filters = hidden_filters
    if "first" in name:
        training.hidden_filters = lambda model: [p for p in model.parameters() if p.ndim == 4]
    recipe = ClassifierRecipe(**BASE | options, seed=seed)
    return train(new_task(recipe, dataset, compute))[-1]["valid_accuracy"]


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--data-dir", default="data")
    parser.add_argument("--out", default="search.jsonl")
    args = parser.parse_args()
    compute = set_up_compute(device="cpu", threads=1, precision="bf16")
    dataset, out = load_dataset("fashion", args.data_dir), Path(args.out)
    lines = out.read_text().splitlines() if out.exists() else []
    done = {(row["name"], row["seed"]) for row in map(json.loads, lines)}
    for name, seed in product(VARIANTS, SEEDS):
        if (name, seed) not in done:
            row, started = {"name": name, "seed": seed}, time.perf_counter()
            row["accuracy"] = accuracy(name, seed, dataset, compute)
            row["seconds"] = time.perf_counter() - started
            with out.open("a") as file:
                print(json.dumps(row), file=file)
            print(row, flush=True)
