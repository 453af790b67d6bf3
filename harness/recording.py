"""A training step's kernels, recorded once and launched together on a graphics card."""

from collections import Counter
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

FIRST_CALLS = 2  # not recorded: libraries choose their kernels and take their memory in them

Backward = Callable[..., Tensor]


class Recorded:
    """Forward and backward pass as CUDA graphs, one for each shape of a batch.

    A step of a small network is hundreds of short kernels, and to launch each by itself takes
    longer than to compute them. The results are the same, bit for bit
    (https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs).

    Args:
        backward: takes a batch's tensors, leaves gradients with the parameters and gives the loss,
            of which nothing but the batch and the model's state decides.
    """

    def __init__(self, backward: Backward, parameters: Sequence[nn.Parameter]):
        self.backward = backward
        self.parameters = parameters
        self.calls: Counter = Counter()
        self.recordings: dict[tuple, Recording] = {}

    def __call__(self, *batch: Tensor) -> Tensor:
        """The loss; it is overwritten by the next call."""
        shape = tuple(part.shape for part in batch)
        self.calls[shape] += 1
        if self.calls[shape] <= FIRST_CALLS:
            return self.backward(*batch)
        if shape not in self.recordings:
            self.recordings[shape] = Recording(self.backward, self.parameters, batch)
        return self.recordings[shape].replay(*batch)


class Recording:
    """One CUDA graph, with the memory that it reads and writes."""

    def __init__(
        self, backward: Backward, parameters: Sequence[nn.Parameter], batch: Sequence[Tensor]
    ):
        self.batch = [part.clone() for part in batch]
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):  # computes nothing yet
            self.loss = backward(*self.batch)
        self.parameters = [p for p in parameters if p.grad is not None]
        self.gradients = [p.grad for p in self.parameters]

    def replay(self, *batch: Tensor) -> Tensor:
        for mine, given in zip(self.batch, batch, strict=True):
            mine.copy_(given)
        self.graph.replay()
        for parameter, gradient in zip(self.parameters, self.gradients, strict=True):
            parameter.grad = gradient  # another shape's recording has memory of its own
        return self.loss
