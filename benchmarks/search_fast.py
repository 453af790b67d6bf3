"""The search beside `--preset fast`: one change at a time, 0.7 epochs (or as it says), four seeds.

Validation accuracy alone; the test set is not read. Each result is a line of the file as it comes
in; what is in it is not trained again.

    python -m benchmarks.search_fast --data-dir data --out search.jsonl [worker workers]
"""

import argparse
import json
import time
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

import training
from benchmarks.contenders import new_task, train
from data import load_dataset
from harness.compute import set_up_compute
from models import hidden_filters
from recipes import ClassifierRecipe

SEEDS = range(100, 104)
WHOLE = {"label_fraction": 1.0}
MUON = {"MUON_RATE": 25, "MUON_MOMENTUM": 0.6, "NEWTON_SCHULZ_STEPS": 3}
# name: (options of the recipe, constants of Muon, other changes)
VARIANTS = {
    "the preset": ({}, {}, {}),
    "the preset, 1 epoch": (WHOLE, {}, {}),
    "batch 96": ({"batch_size": 96}, {}, {}),
    "batch 256": ({"batch_size": 256}, {}, {}),
    "batch 256, 1 epoch": (WHOLE | {"batch_size": 256}, {}, {}),
    "batch 256, twice the rates": ({"batch_size": 256, "learning_rate": 8e-3}, {}, {}),
    "batch 256, twice Muon's rate": ({"batch_size": 256}, {"MUON_RATE": 50}, {}),
    "batch 256, no warm-up": ({"batch_size": 256}, {}, {"warmup": 0}),
    "batch 512, twice the rates": ({"batch_size": 512, "learning_rate": 8e-3}, {}, {}),
    "half Muon's rate": ({}, {"MUON_RATE": 12.5}, {}),
    "twice Muon's rate": ({}, {"MUON_RATE": 50}, {}),
    "Muon's momentum 0.3": ({}, {"MUON_MOMENTUM": 0.3}, {}),
    "Muon's momentum 0.8": ({}, {"MUON_MOMENTUM": 0.8}, {}),
    "Muon's momentum 0.9": ({}, {"MUON_MOMENTUM": 0.9}, {}),
    "2 Newton-Schulz steps": ({}, {"NEWTON_SCHULZ_STEPS": 2}, {}),
    "5 Newton-Schulz steps": ({}, {"NEWTON_SCHULZ_STEPS": 5}, {}),
    "Muon for the first convolution, too": ({}, {}, {"first": True}),
    "half Adam's rate": ({}, {}, {"adam": 0.5}),
    "twice Adam's rate": ({}, {}, {"adam": 2}),
    "1.5 times Adam's rate, no warm-up": ({}, {}, {"adam": 1.5, "warmup": 0}),
    "three quarters of the rates, no warm-up": ({"learning_rate": 3e-3}, {}, {"warmup": 0}),
    "Adam's betas 0.9 and 0.99": ({}, {}, {"betas": (0.9, 0.99)}),
    "Adam's betas 0.85 and 0.95": ({}, {}, {"betas": (0.85, 0.95)}),
    "16 times the rate for normalisation's shifts": ({}, {}, {"bias": 16}),
    "no warm-up": ({}, {}, {"warmup": 0}),
    "twice the warm-up": ({}, {}, {"warmup": 0.2}),
    "rates fall with power 1.5": ({}, {}, {"power": 1.5}),
    "rates fall to 0.07": ({}, {}, {"end": 0.07}),
    "rates stay high for 0.3 of the run": ({}, {}, {"hold": 0.3}),
    "rates fall to 0.2, mean weights of the last fifth": ({}, {}, {"end": 0.2, "mean": 0.8}),
    "rates fall to 0.4, mean weights of the last 0.3": ({}, {}, {"end": 0.4, "mean": 0.7}),
    "output layer starts at 0": ({}, {}, {"zero": True}),
    "filters start as the identity (Dirac)": ({}, {}, {"dirac": True}),
    "first stage stays as it started": ({}, {}, {"freeze": 0}),
    "first stage fixed after 0.3 of the run": ({}, {}, {"freeze": 0.3}),
    "first stage fixed after half the run": ({}, {}, {"freeze": 0.5}),
    "first stage fixed after 0.7 of the run": ({}, {}, {"freeze": 0.7}),
    "first half 20×20 pixels, 0.8 epochs": ({"label_fraction": 0.8}, {}, {"small": (20, 0.5)}),
    "first half 20×20 pixels, 1 epoch": (WHOLE, {}, {"small": (20, 0.5)}),
    "first 0.7 20×20 pixels, 1 epoch": (WHOLE, {}, {"small": (20, 0.7)}),
    "first half 16×16 pixels, 1 epoch": (WHOLE, {}, {"small": (16, 0.5)}),
    "first 0.7 16×16 pixels, 1 epoch": (WHOLE, {}, {"small": (16, 0.7)}),
    "first half 14×14 pixels, 1 epoch": (WHOLE, {}, {"small": (14, 0.5)}),
    "first half 16×16 pixels, batch 256, 1 epoch": (
        WHOLE | {"batch_size": 256},
        {},
        {"small": (16, 0.5)},
    ),
}


def optimizer_of(task, change):
    """The project's, changed; so are the weights at the start."""
    optimizer = usual_optimizer(task)
    norms = (nn.BatchNorm1d, nn.BatchNorm2d)
    shifts = {id(m.bias) for m in task.model.modules() if isinstance(m, norms)}
    groups = []
    for group in optimizer.param_groups:
        if group["muon"]:
            groups.append(group)
            continue
        group["lr"] *= change.get("adam", 1)
        group["betas"] = change.get("betas", group["betas"])
        for factor, chosen in ((change.get("bias", 1), True), (1, False)):
            own = [p for p in group["params"] if (id(p) in shifts) == chosen]
            groups.append({**group, "params": own, "lr": group["lr"] * factor})
    optimizer.param_groups[:] = groups
    if "zero" in change:
        nn.init.zeros_(task.model.classifier[-1].weight)
    if "dirac" in change:
        for m in task.model.modules():
            if isinstance(m, nn.Conv2d) and m.in_channels > 1:
                nn.init.dirac_(m.weight.data[: m.in_channels])
    return optimizer


def scheduler_of(optimizer, schedule, steps, change):
    warm = max(change.get("warmup", 0.1), 2 / (steps + 1))
    hold, end, power = change.get("hold", 0), change.get("end", 0), change.get("power", 1)

    def factor(step):
        x = step / steps
        if x < warm:
            return max(x / warm, 1 / 25) if change.get("warmup", 0.1) else 1
        x = ((x - warm) / (1 - warm) - hold) / (1 - hold)
        return end + (1 - end) * (1 - x) ** power if x > 0 else 1

    return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)


def changed_epochs(task, change):
    """The task's batches, smaller at first; at some of them, weights are fixed or added up."""
    task.model.classifier[0] = nn.AdaptiveMaxPool2d(3)  # at 7x7, the same
    batches, parameters = task.epoch, list(task.model.parameters())
    size, share = change.get("small", (0, 0))

    def epoch(number):
        steps, sums, count = len(task), [torch.zeros_like(p) for p in parameters], 0
        for i, (images, labels) in enumerate(batches(number)):
            if i - 1 < change.get("freeze", 2) * steps <= i:
                task.model.encoder.stage1.requires_grad_(False)
            if i < share * steps:
                images = F.interpolate(images, (size, size), mode="bilinear", antialias=True)
            if i >= change.get("mean", 2) * steps and i % 5 == 0:
                count += 1
                for total, p in zip(sums, parameters, strict=True):
                    total.add_(p.detach())
            yield images, labels
        if count:
            with torch.no_grad():
                for total, p in zip(sums, parameters, strict=True):
                    p.copy_(total / count)

    return epoch


def accuracy(options, muon, change, seed, dataset, compute):
    for name, value in (MUON | muon).items():
        setattr(training, name, value)
    training.make_optimizer = lambda task: optimizer_of(task, change)
    training.make_scheduler = usual_scheduler
    if {"warmup", "hold", "end", "power"} & set(change):
        training.make_scheduler = lambda *given: scheduler_of(*given, change)
    training.hidden_filters = hidden_filters
    if "first" in change:
        training.hidden_filters = lambda model: [p for p in model.parameters() if p.ndim == 4]
    fast = ClassifierRecipe.presets["fast"] | {"label_fraction": 0.7, "skip_test": True}
    task = new_task(ClassifierRecipe(**fast | options, seed=seed), dataset, compute)
    if {"freeze", "small", "mean"} & set(change):
        task.epoch = changed_epochs(task, change)
    started = time.perf_counter()
    row = train(task)[-1]
    return {"accuracy": row["valid_accuracy"], "seconds": time.perf_counter() - started}


usual_optimizer, usual_scheduler = training.make_optimizer, training.make_scheduler

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--data-dir", default="data")
    parser.add_argument("--out", default="search.jsonl")
    parser.add_argument("worker", nargs="*", type=int, default=(0, 1))
    args = parser.parse_args()
    compute = set_up_compute(device="cpu", threads=1, precision="bf16")
    dataset, out = load_dataset("fashion", args.data_dir), Path(args.out)
    lines = out.read_text().splitlines() if out.exists() else []
    done = {(row["name"], row["seed"]) for row in map(json.loads, lines)}
    plan = [(name, seed) for name in VARIANTS for seed in SEEDS if (name, seed) not in done]
    worker, workers = args.worker
    for name, seed in plan[worker::workers]:
        row = {"name": name, "seed": seed} | accuracy(*VARIANTS[name], seed, dataset, compute)
        with out.open("a") as file:
            print(json.dumps(row), file=file)
        print(row, flush=True)
