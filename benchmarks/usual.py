"""The usual training script: the data path and the loop that tutorials teach."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, RandomSampler
from torchvision import transforms

from benchmarks.contenders import Stopwatch
from benchmarks.workloads import Collate, Workload
from data import SIZE
from harness.compute import Compute
from training import Task

WORKERS = 2


@dataclass(frozen=True)
class Form:
    """How a peer computes, and how many processes read its data."""

    compute: Compute
    workers: int
    tuned: bool

    @classmethod
    def tutorial(cls, compute: Compute, workers: int = 0) -> "Form":
        plain = {"precision": "fp32", "memory_format": torch.contiguous_format, "compile": False}
        return cls(replace(compute, **plain), workers, tuned=False)

    @classmethod
    def best(cls, compute: Compute, workers: int = WORKERS) -> "Form":
        tuned = {"memory_format": torch.channels_last, "compile": False}
        return cls(replace(compute, **tuned), workers, tuned=True)

    @property
    def bf16(self) -> bool:
        return self.compute.precision == "bf16"


class UsualImages(Dataset):
    """Images and labels one by one, as torchvision's data sets give them."""

    def __init__(self, images: Tensor, labels: Tensor, transform: Callable):
        self.images, self.labels, self.transform = images, labels, transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = Image.fromarray(self.images[index].numpy())
        return self.transform(image), int(self.labels[index])


class UsualLoader(DataLoader):
    """The usual data path, with the recipe's augmentation; batches arrive on the device.

    Args:
        batches: how many, of images drawn at random; all images once where None.
    """

    def __init__(self, task: Task, workload: Workload, form: Form, batches: int | None = None):
        recipe, normalise = workload.recipe, workload.batches.normalise
        mirror = [transforms.RandomHorizontalFlip()] if recipe.flip != "none" else []
        crop = [transforms.RandomCrop(SIZE, padding=recipe.shift)] if recipe.shift else []
        scale = transforms.Normalize((normalise.mean / 255,), (normalise.std / 255,))
        transform = transforms.Compose([*mirror, *crop, transforms.ToTensor(), scale])
        dataset = UsualImages(workload.images, workload.labels, transform)
        drawn = None if batches is None else batches * recipe.batch_size
        super().__init__(
            dataset,
            batch_size=recipe.batch_size,
            sampler=RandomSampler(dataset, num_samples=drawn),
            collate_fn=Collate(task),
            num_workers=form.workers,
            persistent_workers=form.tuned and form.workers > 0,
        )
        self.device = form.compute.device

    def __iter__(self) -> Iterator[list[Tensor]]:
        for batch in super().__iter__():
            yield [part.to(self.device) for part in batch]


class WatchedLoader(UsualLoader):
    """The usual data path under the stopwatch: only as many batches as that needs."""

    def __init__(self, task: Task, workload: Workload, form: Form, stopwatch: Stopwatch):
        super().__init__(task, workload, form, stopwatch.batches)
        self.stopwatch = stopwatch

    def __iter__(self) -> Iterator[list[Tensor]]:
        yield from self.stopwatch.watch(super().__iter__())


class Peer:
    """What another loop is given: the experiment's task in a form, its rate, and the data."""

    def __init__(self, task: Task, workload: Workload, form: Form, loader: UsualLoader):
        self.model = form.compute.place(task.model)
        self.loss = task.loss
        self.learning_rate = workload.recipe.learning_rate
        self.form = form
        self.loader = loader

    def mean_loss(self, output: Tensor, *targets: Tensor) -> Tensor:
        """A batch's mean loss; the experiment's losses take float32."""
        return self.loss(output.float(), *targets)

    def adam(self) -> torch.optim.Adam:
        """PyTorch's optimizer; tuned, all parameters in one operation."""
        fused = True if self.form.tuned else None
        return torch.optim.Adam(self.model.parameters(), lr=self.learning_rate, fused=fused)


def usual_script(peer: Peer) -> Callable[[], None]:
    """The loop that tutorials teach: plain Adam, the loss read in every step.

    Tuned, Adam's steps are fused and the loss is read once an epoch.
    """
    tuned, compute = peer.form.tuned, peer.form.compute
    optimizer = peer.adam()

    def train() -> None:
        peer.model.train()
        running_loss = 0.0
        for inputs, *targets in peer.loader:
            optimizer.zero_grad()
            with compute.autocast():
                loss = peer.mean_loss(peer.model(inputs), *targets)
            loss.backward()
            optimizer.step()
            running_loss += loss.detach() if tuned else loss.item()

    return train
