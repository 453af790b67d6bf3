"""What benchmark.py holds this project against: the usual script and other libraries' loops."""

import logging
import os
import warnings
from collections.abc import Callable, Iterator
from importlib.util import find_spec

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, RandomSampler
from torchvision import transforms

from contenders import LEARNING_RATE, Conditions, Contender, Task
from data import SIZE


class UsualImages(Dataset):
    """Images and labels one by one, as torchvision's data sets give them."""

    def __init__(self, images: Tensor, labels: Tensor, transform: Callable):
        self.images, self.labels, self.transform = images, labels, transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = Image.fromarray(self.images[index].numpy())
        return self.transform(image), int(self.labels[index])


class WatchedLoader(DataLoader):
    """The usual data path, with this project's augmentation, under the stopwatch."""

    def __init__(self, task: Task, common: Conditions, workers: int):
        batches, stopwatch = common.batches, common.stopwatch
        normalise = batches.normalise
        transform = transforms.Compose(
            [
                transforms.RandomHorizontalFlip(),
                transforms.RandomCrop(SIZE, padding=batches.shift),
                transforms.ToTensor(),
                transforms.Normalize((normalise.mean / 255,), (normalise.std / 255,)),
            ]
        )
        dataset = UsualImages(common.images, common.labels, transform)
        super().__init__(
            dataset,
            batch_size=batches.batch_size,
            sampler=RandomSampler(dataset, num_samples=stopwatch.batches * batches.batch_size),
            collate_fn=task.collate,
            num_workers=workers,
        )
        self.stopwatch, self.device = stopwatch, common.compute.device

    def __iter__(self) -> Iterator[list[Tensor]]:
        for batch in self.stopwatch.watch(super().__iter__()):
            yield [part.to(self.device) for part in batch]


def usual_script(task: Task, loader: WatchedLoader) -> Contender:
    """The loop that tutorials teach: single precision, plain Adam, the loss read every step."""
    model = task.new_model().to(loader.device)
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)

    def train() -> float:
        running_loss = 0.0
        for inputs, *targets in loader:
            optimizer.zero_grad()
            loss = task.criterion(model(inputs), *targets)
            loss.backward()
            optimizer.step()
            running_loss += loss.item()
        return loader.stopwatch.seconds_per_image

    return train


def lightning_loop(task: Task, loader: WatchedLoader) -> Contender:
    """Lightning's Trainer, without a logger, checkpoints or a bar."""
    import lightning

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)

    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.model = task.new_model()

        def training_step(self, batch, batch_index):
            inputs, *targets = batch
            return task.criterion(self.model(inputs), *targets)

        def configure_optimizers(self):
            return torch.optim.Adam(self.parameters(), lr=LEARNING_RATE)

    module = Module()

    def train() -> float:
        trainer = lightning.Trainer(
            max_epochs=1,
            accelerator=loader.device.type,
            devices=1,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(module, loader)
        return loader.stopwatch.seconds_per_image

    return train


def fastai_loop(task: Task, loader: WatchedLoader) -> Contender:
    """fastai's Learner and its own Adam, without a bar."""
    from fastai.data.core import DataLoaders
    from fastai.learner import Learner

    loader.n_inp = 1  # what follows in a batch are targets
    learner = Learner(
        DataLoaders(loader, []), task.new_model().to(loader.device), loss_func=task.criterion
    )

    def train() -> float:
        with learner.no_logging():
            learner.fit(1, LEARNING_RATE)
        return loader.stopwatch.seconds_per_image

    return train


def keras_loop(task: Task, loader: WatchedLoader) -> Contender:
    """Keras's fit with the PyTorch backend, on the same module, without a bar."""
    os.environ["KERAS_BACKEND"] = "torch"
    import keras

    class Model(keras.Model):
        def __init__(self):
            super().__init__()
            self.wrapped = keras.layers.TorchModuleWrapper(task.new_model())

        def call(self, inputs, training=False):
            return self.wrapped(inputs, training=training)

        def compute_loss(self, x, y, y_pred, sample_weight=None, training=True):
            # Keras takes a batch's third part, the pixels that count, for its weights.
            targets = (y,) if sample_weight is None else (y, sample_weight)
            return task.criterion(y_pred, *targets)

    model = Model()
    model.compile(optimizer=keras.optimizers.Adam(LEARNING_RATE))

    def train() -> float:
        with keras.device(loader.device.type):
            model.fit(loader, verbose=0)
        return loader.stopwatch.seconds_per_image

    return train


PEERS = {"lightning": lightning_loop, "fastai": fastai_loop, "keras": keras_loop}


def installed_peers() -> list[str]:
    """The names of those in `PEERS` that can be imported."""
    return [name for name in PEERS if find_spec(name)]


def peer_loop(name: str, task: Task, loader: WatchedLoader) -> Contender:
    """One of `PEERS`, without what it has to say."""

    def train() -> float:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return loop()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loop = PEERS[name](task, loader)
    return train
