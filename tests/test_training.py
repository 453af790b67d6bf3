import math
import platform
import subprocess
import sys

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, log_loss
from torch import nn

from batches import Batches, Normalisation, evaluation_batches
from classification import fit_temperature, predict, score, tempered
from harness.compute import commit, set_up_compute
from harness.errors import UserError
from harness.progress import Progress
from models import AlexNet
from training import (
    legs,
    make_backward,
    make_scheduler,
    refuse_infinite,
    train_epoch,
)

CPU = set_up_compute("cpu", "fp32")


def adam(rates=(0.1,)):
    groups = [{"params": [nn.Parameter(torch.zeros(1))], "lr": rate} for rate in rates]
    return torch.optim.Adam(groups)


class MeanOfOutput:
    """A task whose loss is the mean of what the model gives."""

    def loss(self, output):
        return output.mean()


def run_epoch(forward, weight, batches):
    optimizer = torch.optim.SGD([weight], lr=0.0)
    scheduler = make_scheduler(optimizer, "constant", len(batches))
    with Progress(1, len(batches), 0) as progress:
        backward = make_backward(MeanOfOutput(), forward, optimizer, CPU)
        return train_epoch(backward, optimizer, scheduler, batches, progress)


def test_the_train_loss_weighs_an_uneven_last_batch_by_its_images():
    weight = nn.Parameter(torch.ones(()))
    batches = [(torch.tensor([1.0, 2.0, 3.0]),), (torch.tensor([10.0]),)]
    loss = run_epoch(lambda x: weight * x, weight, batches)
    assert loss == pytest.approx(16 / 4)  # a mean over batches would be (2 + 10) / 2


def test_a_loss_that_is_no_number_is_reported():
    weight = nn.Parameter(torch.ones(()))
    loss = run_epoch(lambda x: weight * torch.nan, weight, [(torch.tensor([1.0]),)])
    with pytest.raises(UserError, match=r"train_loss is nan after epoch 3: .*--learning-rate"):
        refuse_infinite({"epoch": 3, "train_loss": loss, "valid_loss": 1.0})


def test_one_cycle_rises_to_the_rate_and_ends_near_zero_in_each_group():
    optimizer = adam((0.1, 0.01))
    scheduler = make_scheduler(optimizer, "one-cycle", 100)
    rates = []
    for _ in range(100):
        rates.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        scheduler.step()
    rates = np.array(rates)
    assert rates.max(axis=0) == pytest.approx([0.1, 0.01], rel=0.02)
    assert 5 < rates[:, 0].argmax() < 15
    assert rates[-1, 0] < 0.002
    assert (rates > 0).all()
    assert rates[:, 0] == pytest.approx(10 * rates[:, 1])
    assert scheduler.get_last_lr()[0] >= 0


@pytest.mark.parametrize("steps", range(1, 40))
def test_one_cycle_rises_and_falls_however_short_it_is(steps):
    optimizer = adam()
    scheduler = make_scheduler(optimizer, "one-cycle", steps)
    rates = [scheduler.get_last_lr()[0]]
    for _ in range(steps):
        optimizer.step()
        scheduler.step()
        rates.append(scheduler.get_last_lr()[0])
    assert max(rates) <= 0.1
    assert max(rates) > rates[0] > 0
    assert rates[-1] < rates[0] or steps == 1


def test_a_constant_rate_is_constant():
    optimizer = adam()
    scheduler = make_scheduler(optimizer, "constant", 3)
    for _ in range(3):
        assert optimizer.param_groups[0]["lr"] == pytest.approx(0.1)
        optimizer.step()
        scheduler.step()


class WithoutDoubles(torch.Tensor):
    """As on Apple's GPUs, which have no float64."""

    def double(self):
        raise TypeError

    def cpu(self):
        return self.as_subclass(torch.Tensor)


def test_score_asks_a_gpu_for_no_float64():
    probabilities = torch.tensor([[0.25, 0.75]]).as_subclass(WithoutDoubles)
    assert score(probabilities, torch.tensor([1])) == (pytest.approx(-math.log(0.75)), 1.0)


def test_score_is_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.ones(10), size=50)
    labels = rng.integers(0, 10, 50)
    loss, accuracy = score(torch.from_numpy(probabilities), torch.from_numpy(labels))
    assert loss == pytest.approx(log_loss(labels, probabilities, labels=range(10)))
    assert accuracy == accuracy_score(labels, probabilities.argmax(1))


def test_prediction_uses_no_randomness_and_averages_the_mirror_image():
    torch.manual_seed(0)
    model = AlexNet(0.05).eval()
    images = torch.randint(256, (11, 28, 28), dtype=torch.uint8)
    normalise = Normalisation.of(images)
    batches = Batches(images, torch.zeros(11, dtype=torch.long), normalise, batch_size=4)
    state = torch.get_rng_state()
    once = predict(model, batches, CPU)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(predict(model, batches, CPU), once)
    assert once.sum(dim=1) == pytest.approx(torch.ones(11))
    with torch.inference_mode():
        views = [model(normalise(view)).softmax(1) for view in (images, images.flip(-1))]
    assert torch.allclose(once, views[0], atol=1e-6)
    both = predict(model, batches, CPU, mirror=True)
    assert torch.allclose(both, (views[0] + views[1]) / 2, atol=1e-6)
    assert not torch.allclose(both, once, atol=1e-6)


def test_prediction_averages_the_image_moved_by_a_pixel():
    torch.manual_seed(0)
    model = AlexNet(0.05).eval()
    images = torch.randint(256, (5, 28, 28), dtype=torch.uint8)
    normalise = Normalisation.of(images)
    batches = evaluation_batches(images, torch.zeros(5, dtype=torch.long), normalise, CPU, shift=1)
    padded = torch.nn.functional.pad(images, (1, 1, 1, 1))
    moved = [padded[:, y : y + 28, x : x + 28] for y in range(3) for x in range(3)]
    with torch.inference_mode():
        expected = sum(model(normalise(view)).softmax(1) for view in moved) / 9
    assert torch.allclose(predict(model, batches, CPU, shift=1), expected, atol=1e-6)
    still = predict(model, batches, CPU)
    with torch.inference_mode():
        assert torch.allclose(still, model(normalise(images)).softmax(1), atol=1e-6)


@pytest.mark.parametrize(
    ("done", "validations", "ends"),
    [
        (0, 5, [1, 2, 3, 4, 5]),
        (0, 99, [1, 2, 3, 4, 5]),
        (0, 3, [2, 4, 5]),
        (2, 3, [4, 5]),
        (1, 3, [2, 4, 5]),  # resumed with another number of validations
        (0, 1, [5]),
        (5, 5, []),
    ],
)
def test_the_last_epoch_is_always_measured(done, validations, ends):
    epochs = legs(done, 5, validations)
    assert [leg.stop for leg in epochs] == ends
    assert [epoch for leg in epochs for epoch in leg] == list(range(done, 5))


def test_a_temperature_mends_underconfidence_and_moves_no_class():
    rng = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(4000, 5, generator=rng)
    labels = torch.multinomial(logits.softmax(1), 1, generator=rng)[:, 0]
    soft = (logits / 2).softmax(1)  # half as sure as it should be
    temperature = fit_temperature(soft, labels)
    assert temperature == pytest.approx(0.5, rel=0.05)
    assert score(tempered(soft, temperature), labels)[0] < score(soft, labels)[0]
    assert torch.equal(tempered(soft, temperature).argmax(1), soft.argmax(1))


@pytest.mark.parametrize(
    ("capabilities", "precision"),
    [({"avx2": True}, "fp32"), ({"avx512_bf16": True}, "bf16"), ({"amx_bf16": True}, "bf16")],
)
def test_bf16_is_chosen_where_the_processor_has_it(monkeypatch, capabilities, precision):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert set_up_compute("cpu", "auto").precision == precision
    assert set_up_compute("cpu", "fp32").precision == "fp32"


def test_a_changed_result_leaves_the_commit_clean_and_changed_code_does_not(tmp_path):
    def git(*command):
        subprocess.run(["git", "-C", str(tmp_path), *command], check=True, capture_output=True)

    assert commit(tmp_path) == "unknown"
    (tmp_path / "code.py").write_text("one")
    (tmp_path / "result.json").write_text("1")
    git("init")
    git("add", ".")
    git("-c", "user.name=A", "-c", "user.email=a@example.org", "commit", "-m", "Both")
    clean = commit(tmp_path)
    assert clean != "unknown" and not clean.endswith("-dirty")
    (tmp_path / "result.json").write_text("2")
    assert commit(tmp_path) == clean
    (tmp_path / "code.py").write_text("two")
    assert commit(tmp_path) == f"{clean}-dirty"


def test_a_device_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="--device cpu"):
        set_up_compute("cuda")


PAGE_FAULTS = """
import resource, torch
from harness.compute import keep_freed_memory
if {kept}:
    keep_freed_memory()
def fault():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        torch.ones(64 * 2**20, dtype=torch.uint8)  # beyond its own largest threshold
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
fault()
print(fault())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told")
def test_freed_memory_is_kept():
    faults = {
        kept: int(subprocess.check_output([sys.executable, "-c", PAGE_FAULTS.format(kept=kept)]))
        for kept in (False, True)
    }
    assert 2 * faults[True] < faults[False]  # a busy machine takes some back
