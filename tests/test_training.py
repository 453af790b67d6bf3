import platform
import subprocess
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import python
from sklearn.metrics import accuracy_score, log_loss
from torch import nn

import training
from batches import Batches, Normalisation, evaluation_batches
from classification import Classification, fit_temperature, predict, score, tempered
from harness.compute import commit, set_up_compute
from harness.progress import Progress
from models import AlexNet
from recipes import ClassifierRecipe

CPU = set_up_compute("cpu", "fp32")


def rates_of(schedule: str, steps: int, rates=(0.1,)) -> np.ndarray:
    """The learning rates of each group, before each step and after the last."""
    groups = [{"params": [nn.Parameter(torch.zeros(1))], "lr": rate} for rate in rates]
    optimizer = torch.optim.Adam(groups)
    scheduler = training.make_scheduler(optimizer, schedule, steps)
    shown = [scheduler.get_last_lr()]
    for _ in range(steps):
        optimizer.step()
        scheduler.step()
        shown.append(scheduler.get_last_lr())
    return np.array(shown)


def test_the_train_loss_weighs_an_uneven_last_batch_by_its_images():
    weight = nn.Parameter(torch.ones(()))
    batches = [(torch.tensor([1.0, 2.0, 3.0]),), (torch.tensor([10.0]),)]
    optimizer = torch.optim.SGD([weight], lr=0.0)
    scheduler = training.make_scheduler(optimizer, "constant", len(batches))
    task = SimpleNamespace(loss=torch.mean)
    backward = training.make_backward(task, lambda x: weight * x, optimizer, CPU)
    with Progress(1, len(batches), 0) as progress:
        loss = training.train_epoch(backward, optimizer, scheduler, batches, progress)
    assert loss == pytest.approx(16 / 4)  # a mean over batches would be (2 + 10) / 2


def test_one_cycle_rises_to_the_rate_and_ends_near_zero_and_a_constant_rate_stays():
    rates = rates_of("one-cycle", 100, (0.1, 0.01))
    assert rates.max(axis=0) == pytest.approx([0.1, 0.01], rel=0.02)
    assert 5 < rates[:, 0].argmax() < 15
    assert 0 <= rates[-1, 0] < rates[-2, 0] < 0.002
    assert rates[:, 0] == pytest.approx(10 * rates[:, 1])
    assert rates_of("constant", 3) == pytest.approx(0.1)


@pytest.mark.parametrize("steps", range(1, 40))
def test_one_cycle_rises_and_falls_however_short_it_is(steps):
    rates = rates_of("one-cycle", steps)
    assert 0.1 >= rates.max() > rates[0] > 0
    assert rates[-1] < rates[0] or steps == 1


def make_task(**options) -> Classification:
    torch.manual_seed(0)
    images = torch.randint(256, (64, 28, 28), dtype=torch.uint8)
    batches = Batches(images, torch.arange(64) % 10, Normalisation.of(images), batch_size=32)
    recipe = ClassifierRecipe(width=0.1, **options)
    return Classification(AlexNet(0.1), batches, batches, recipe, CPU)


def test_muon_takes_all_filters_but_the_first_and_adam_the_rest():
    task = make_task(optimizer="muon", encoder_lr_scale=0.5)
    optimizer = training.make_optimizer(task)
    names = {id(parameter): name for name, parameter in task.model.named_parameters()}
    by_muon = {
        names[id(parameter)]: group["lr"]
        for group in optimizer.param_groups
        for parameter in group["params"]
        if group["muon"]
    }
    convolutions = ["stage2.1.0", "stage3.1.0", "stage3.2.0", "stage3.3.0"]
    assert by_muon == {f"encoder.{layer}.weight": 2e-3 for layer in convolutions}
    before = {name: value.clone() for name, value in task.model.named_parameters()}
    training.make_backward(task, task.model, optimizer, CPU)(*next(iter(task.epoch(0))))
    optimizer.step()
    for name, value in task.model.named_parameters():
        assert not torch.equal(value, before[name]), name
    old, new = before["encoder.stage3.3.0.weight"], task.model.encoder.stage3[3][0].weight.detach()
    step = (new - old * (len(old) ** 0.5 / old.norm())).flatten(1)
    assert torch.linalg.svdvals(step.detach())[:20] == pytest.approx(0.05 * torch.ones(20), rel=0.5)


@pytest.mark.parametrize("shape", [(8, 40), (40, 8)])
def test_orthogonalising_keeps_the_singular_vectors(shape):
    torch.manual_seed(0)
    left, values, right = torch.linalg.svd(torch.randn(shape), full_matrices=False)
    found = left.mT @ training.orthogonalised(left @ values.diag() @ right) @ right.mT
    assert torch.allclose(found, found.diag().diag(), atol=1e-4)
    assert found.diag().min() > 0.3 and found.diag().max() < 1.4


def test_running_statistics_of_a_few_steps_are_those_of_the_batches():
    norm = nn.BatchNorm2d(3)
    torch.manual_seed(0)
    images = 5 + 2 * torch.randn(4, 64, 3, 8, 8)
    with training.unbiased_statistics(norm, 4):
        for batch in images:
            norm(batch)
    assert torch.allclose(norm.running_mean, torch.full((3,), 5.0), atol=0.1)
    assert torch.allclose(norm.running_var, torch.full((3,), 4.0), atol=0.2)
    frozen = nn.BatchNorm2d(3).eval()
    with training.unbiased_statistics(frozen, 4):
        frozen(images[0])
    assert frozen.running_var.tolist() == [1, 1, 1]


class WithoutDoubles(torch.Tensor):
    """As on Apple's GPUs, which have no float64."""

    def double(self):
        raise TypeError

    def cpu(self):
        return self.as_subclass(torch.Tensor)


def test_score_is_that_of_scikit_learn_and_asks_a_gpu_for_no_float64():
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.ones(10), size=50)
    labels = rng.integers(0, 10, 50)
    on_gpu = torch.from_numpy(probabilities).as_subclass(WithoutDoubles)
    loss, accuracy = score(on_gpu, torch.from_numpy(labels))
    assert loss == pytest.approx(log_loss(labels, probabilities, labels=range(10)))
    assert accuracy == accuracy_score(labels, probabilities.argmax(1))


@pytest.mark.parametrize("flip", ["none", "alternate"])
def test_prediction_averages_the_views_without_randomness(flip):
    torch.manual_seed(0)
    model = AlexNet(0.05).eval()
    images = torch.randint(256, (11, 28, 28), dtype=torch.uint8)
    normalise = Normalisation.of(images)
    batches = evaluation_batches(images, torch.zeros(11, dtype=torch.long), normalise, CPU)
    views = [images] if flip == "none" else [images, images.flip(-1)]
    with torch.inference_mode():
        expected = torch.stack([model(normalise(view)).softmax(1) for view in views]).mean(0)
    state = torch.get_rng_state()
    found = predict(model, batches, ClassifierRecipe(flip=flip), CPU)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize(("done", "validations", "ends"), [
    (0, 5, [1, 2, 3, 4, 5]), (0, 99, [1, 2, 3, 4, 5]), (0, 3, [2, 4, 5]), (0, 1, [5]),
    (2, 3, [4, 5]), (1, 3, [2, 4, 5]),  # the latter resumed with another number of validations
    (5, 5, []),
])  # fmt: skip
def test_the_last_epoch_is_always_measured(done, validations, ends):
    epochs = training.legs(done, 5, validations)
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


@pytest.mark.parametrize(("capabilities", "precision"), [
    ({"avx2": True}, "fp32"), ({"avx512_bf16": True}, "bf16"), ({"amx_bf16": True}, "bf16"),
])  # fmt: skip
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


PAGE_FAULTS = """
import resource, torch
from harness.compute import keep_freed_memory
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        torch.ones(64 * 2**20, dtype=torch.uint8)  # beyond its own largest threshold
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
print(faults())
keep_freed_memory()
faults()
print(faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told")
def test_freed_memory_is_kept():
    usual, kept = map(int, python(PAGE_FAULTS).split())
    assert 2 * kept < usual  # a busy machine takes some back
