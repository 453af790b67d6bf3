"""What this project is held against: the usual script and other libraries' training loops.

Each trains the experiment's own model with its own loss, in two forms: as its tutorial has it,
and tuned: channels-last, data workers that stay between epochs, PyTorch's Adam fused, and bf16
where this project computes in it too.
"""

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, RandomSampler
from torchvision import transforms

from autoencoding import reconstruction_batch
from benchmarks.contenders import Stopwatch, new_task
from data import SIZE, ImageSet, split
from harness.compute import Compute
from recipes import AutoencoderRecipe, Recipe
from training import Task, make_optimizer, make_scheduler

WORKERS = 2
Train = Callable[[], None]  # an epoch


class Loader(DataLoader):
    """The usual data path: images one by one, and batches to the device.

    Args:
        stopwatch: draws as many batches as it needs; an epoch is all images where None.
    """

    def __init__(self, dataset: ImageSet, task: Task, tuned: bool, workers: int, stopwatch=None):
        train, _ = split(dataset, task.recipe.seed)
        images = dataset.train_images[train].numpy()
        pairs = list(zip(images, dataset.train_labels[train].tolist(), strict=True))
        size = task.recipe.batch_size
        super().__init__(
            pairs,
            batch_size=size,
            sampler=RandomSampler(pairs, num_samples=stopwatch and stopwatch.batches * size),
            collate_fn=partial(collate, transform_of(task), task.recipe),
            num_workers=workers,
            persistent_workers=tuned and workers > 0,
        )
        self.device, self.stopwatch = task.compute.device, stopwatch

    def __iter__(self) -> Iterator[list[Tensor]]:
        batches = ([part.to(self.device) for part in batch] for batch in super().__iter__())
        return self.stopwatch.watch(batches) if self.stopwatch else batches


def transform_of(task: Task) -> transforms.Compose:
    """uint8 (28, 28) to a normalised image (1, 28, 28), augmented as the recipe says."""
    recipe, normalise = task.recipe, task.batches.normalise
    mirror = [transforms.RandomHorizontalFlip()] if recipe.flip != "none" else []
    crop = [transforms.RandomCrop(SIZE, padding=recipe.shift)] if recipe.shift else []
    scale = transforms.Normalize((normalise.mean / 255,), (normalise.std / 255,))
    return transforms.Compose([Image.fromarray, *mirror, *crop, transforms.ToTensor(), scale])


def collate(transform: Callable, recipe: Recipe, examples: list[tuple]) -> Sequence[Tensor]:
    """Pairs of image and label to the task's batch, as `DataLoader` asks for it."""
    images = torch.stack([transform(image) for image, _ in examples])
    if isinstance(recipe, AutoencoderRecipe):
        return reconstruction_batch(images, recipe, torch.default_generator)
    return images, torch.tensor([label for _, label in examples])


class Peer:
    """What another loop is given: the experiment's task, tuned or not, and the usual data path."""

    def __init__(
        self,
        recipe: Recipe,
        dataset: ImageSet,
        compute: Compute,
        tuned: bool,
        workers: int = WORKERS,
        stopwatch: Stopwatch | None = None,
    ):
        plain = {} if tuned else {"precision": "fp32", "memory_format": torch.contiguous_format}
        self.compute = replace(compute, compile=False, **plain)
        self.task = new_task(recipe, dataset, self.compute)
        self.recipe, self.model, self.tuned = recipe, self.task.model, tuned
        # Of the libraries' own ways to bf16, fastai's is for CUDA alone and Keras's does not reach
        # a wrapped module's weights.
        self.model.forward = self.compute.autocast()(self.model.forward)
        self.loader = Loader(dataset, self.task, tuned, workers, stopwatch)

    def loss(self, output: Tensor, *targets: Tensor) -> Tensor:
        """A batch's mean loss; the experiment's losses take float32."""
        return self.task.loss(output.float(), *targets)

    def optimizer(self) -> torch.optim.Optimizer:
        if self.recipe.optimizer == "muon":
            return make_optimizer(self.task)
        rate, fused = self.recipe.learning_rate, True if self.tuned else None
        return torch.optim.Adam(self.model.parameters(), lr=rate, fused=fused)


def usual_script(peer: Peer, epochs: int = 0) -> Train:
    """The loop that tutorials teach: plain Adam, the loss read in every step.

    Tuned, Adam's steps are fused and the loss is read once an epoch.

    Args:
        epochs: for which the recipe's schedule is made; 0: the learning rate is constant.
    """
    optimizer, steps = peer.optimizer(), epochs * len(peer.loader)
    scheduler = make_scheduler(optimizer, peer.recipe.schedule, steps) if steps else None

    def train() -> None:
        peer.model.train()
        running_loss = 0.0
        for inputs, *targets in peer.loader:
            optimizer.zero_grad()
            loss = peer.loss(peer.model(inputs), *targets)
            loss.backward()
            optimizer.step()
            if scheduler:
                scheduler.step()
            running_loss += loss.detach() if peer.tuned else loss.item()

    return train


def lightning(peer: Peer) -> Train:
    """Lightning's Trainer, without a logger, checkpoints or a bar."""
    import lightning

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)

    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.model = peer.model

        def training_step(self, batch, batch_index):
            inputs, *targets = batch
            return peer.loss(self.model(inputs), *targets)

        def configure_optimizers(self):
            return peer.optimizer()

    module, quiet = Module(), ("checkpointing", "progress_bar", "model_summary")

    def train() -> None:
        trainer = lightning.Trainer(
            max_epochs=1,
            accelerator=peer.compute.device.type,
            devices=1,
            logger=False,
            **{f"enable_{name}": False for name in quiet},
        )
        trainer.fit(module, peer.loader)

    return train


def fastai(peer: Peer) -> Train:
    """fastai's Learner and its own Adam, without a bar."""
    from fastai.data.core import DataLoaders
    from fastai.learner import Learner

    peer.loader.n_inp = 1  # what follows in a batch are targets
    learner = Learner(DataLoaders(peer.loader, []), peer.model, loss_func=peer.loss)

    def train() -> None:
        with learner.no_logging():
            learner.fit(1, peer.recipe.learning_rate)

    return train


def keras(peer: Peer) -> Train:
    """Keras's fit with the PyTorch backend, on the same module, without a bar."""
    os.environ["KERAS_BACKEND"] = "torch"
    import keras

    policy = "mixed_bfloat16" if peer.compute.precision == "bf16" else "float32"

    class Model(keras.Model):
        def __init__(self):
            super().__init__(dtype=policy)
            self.wrapped = keras.layers.TorchModuleWrapper(peer.model, dtype=policy)

        def call(self, inputs, training=False):
            return self.wrapped(inputs, training=training)

        def compute_loss(self, x, y, y_pred, sample_weight=None, training=True):
            # Keras takes a batch's third part, the pixels that count, for its weights.
            targets = (y,) if sample_weight is None else (y, sample_weight)
            return peer.loss(y_pred, *targets)

    device = peer.compute.device.type
    with keras.device(device):
        trained = Model()
        trained.compile(optimizer=keras.optimizers.Adam(peer.recipe.learning_rate))

    def train() -> None:
        with keras.device(device):
            trained.fit(peer.loader, verbose=0)

    return train


LIBRARIES = {"Lightning": lightning, "fastai": fastai, "Keras": keras}


def loops() -> dict[str, tuple[Callable[[Peer], Train], tuple[int, int]]]:
    """Every loop that can run here, by its name; its data workers in the tutorial and tuned."""
    found = {f"usual script, num_workers={n}": (usual_script, (n, n)) for n in (0, WORKERS)}
    for name, loop in LIBRARIES.items():
        if find_spec(name.lower()):
            found[f"{name} {version(name.lower())}"] = (loop, (0, WORKERS))
    return found
