"""What only a graphics card can show; the other tests run on it as well, where there is one."""

from dataclasses import replace

import pytest
import torch

from benchmarks.contenders import new_task
from classification import new_alexnet
from data import load_dataset
from harness.compute import FIRST_CALLS, Recorded, set_up_compute
from harness.progress import Progress
from harness.weights import digest_of
from recipes import AutoencoderRecipe, ClassifierRecipe
from training import make_backward, make_optimizer, make_scheduler, train_epoch

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no graphics card here")

DATASET = load_dataset("digits", "data")
OPTIONS = {"dataset": "digits", "width": 0.1, "epochs": 3, "batch_size": 100}
RECIPES = {"classifier": ClassifierRecipe(**OPTIONS), "autoencoder": AutoencoderRecipe(**OPTIONS)}


def trained(recipe, compute):
    """The model after some epochs, which end in batches of another size."""
    task = new_task(recipe, DATASET, compute)
    optimizer = make_optimizer(task)
    scheduler = make_scheduler(optimizer, "one-cycle", len(task) * recipe.epochs)
    backward = make_backward(task, task.model, optimizer, compute)
    task.model.train()
    with Progress(recipe.epochs, len(task), 0) as progress:
        losses = [
            train_epoch(backward, optimizer, scheduler, task.epoch(epoch), progress)
            for epoch in range(recipe.epochs)
        ]
    if isinstance(backward, Recorded):
        assert len(backward.recordings) == len(backward.calls) == 2
        assert min(backward.calls.values()) > FIRST_CALLS
    return task.model.cpu(), losses


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_recorded_steps_give_the_bits_of_steps_that_are_not(recipe, precision):
    compute = set_up_compute("cuda", precision)
    recorded, losses = trained(recipe, compute)
    plain, expected = trained(recipe, replace(compute, graphs=False))
    assert losses == expected
    assert digest_of(recorded.state_dict()) == digest_of(plain.state_dict())


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_it_learns_as_on_a_cpu(recipe):
    on_card, on_cpu = (trained(recipe, set_up_compute(d, "fp32"))[1] for d in ("cuda", "cpu"))
    assert on_card == pytest.approx(on_cpu, rel=0.05)


def test_fp32_is_not_tf32():
    compute = set_up_compute("cuda", "fp32")
    gradients = []
    for dtype in (torch.float32, torch.float64):
        model = compute.place(new_alexnet(RECIPES["classifier"], 10).to(dtype))
        rng = torch.Generator().manual_seed(0)
        images = torch.randn(32, 1, 28, 28, generator=rng).to("cuda", dtype)
        model(images).square().mean().backward()
        gradients.append(torch.cat([p.grad.double().flatten() for p in model.parameters()]))
    fast, exact = gradients
    assert (fast - exact).norm() < 1e-4 * exact.norm()
