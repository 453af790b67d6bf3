"""What benchmark.py holds this project against: the usual script and other libraries' loops.

Each trains the experiment's own model with its own loss, in two forms: as its tutorial has it,
and tuned: channels-last, data workers that stay between epochs, PyTorch's Adam fused, and bf16
where this project computes in it too.
"""

import logging
import os
import warnings
from collections.abc import Callable
from importlib.metadata import version
from importlib.util import find_spec

from torch import Tensor, nn

from benchmarks.contenders import Contender, Stopwatch
from benchmarks.usual import WORKERS, Form, Peer, WatchedLoader, usual_script
from benchmarks.workloads import Workload
from harness.compute import Compute


class Autocast(nn.Module):
    """A model whose forward pass is computed in bf16."""

    def __init__(self, model: nn.Module, compute: Compute):
        super().__init__()
        self.model, self.compute = model, compute

    def forward(self, inputs: Tensor) -> Tensor:
        with self.compute.autocast():
            return self.model(inputs)


def lightning_loop(peer: Peer) -> Callable[[], None]:
    """Lightning's Trainer, without a logger, checkpoints or a bar."""
    import lightning

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)

    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.model = peer.model

        def training_step(self, batch, batch_index):
            inputs, *targets = batch
            return peer.mean_loss(self.model(inputs), *targets)

        def configure_optimizers(self):
            return peer.adam()

    module = Module()

    def train() -> None:
        trainer = lightning.Trainer(
            max_epochs=1,
            accelerator=peer.loader.device.type,
            devices=1,
            precision="bf16-mixed" if peer.form.bf16 else "32-true",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(module, peer.loader)

    return train


def fastai_loop(peer: Peer) -> Callable[[], None]:
    """fastai's Learner and its own Adam, without a bar.

    Its `to_bf16` is for CUDA alone and changes nothing on a CPU, hence PyTorch's autocast.
    """
    from fastai.data.core import DataLoaders
    from fastai.learner import Learner

    peer.loader.n_inp = 1  # what follows in a batch are targets
    model = Autocast(peer.model, peer.form.compute) if peer.form.bf16 else peer.model
    learner = Learner(DataLoaders(peer.loader, []), model, loss_func=peer.mean_loss)

    def train() -> None:
        with learner.no_logging():
            learner.fit(1, peer.learning_rate)

    return train


def keras_loop(peer: Peer) -> Callable[[], None]:
    """Keras's fit with the PyTorch backend, on the same module, without a bar.

    Its `mixed_bfloat16` does not reach a wrapped module's weights: PyTorch's autocast does that.
    """
    os.environ["KERAS_BACKEND"] = "torch"
    import keras

    policy = "mixed_bfloat16" if peer.form.bf16 else "float32"
    model = Autocast(peer.model, peer.form.compute) if peer.form.bf16 else peer.model

    class Model(keras.Model):
        def __init__(self):
            super().__init__(dtype=policy)
            self.wrapped = keras.layers.TorchModuleWrapper(model, dtype=policy)

        def call(self, inputs, training=False):
            return self.wrapped(inputs, training=training)

        def compute_loss(self, x, y, y_pred, sample_weight=None, training=True):
            # Keras takes a batch's third part, the pixels that count, for its weights.
            targets = (y,) if sample_weight is None else (y, sample_weight)
            return peer.mean_loss(y_pred, *targets)

    device = peer.loader.device.type
    with keras.device(device):
        trained = Model()
        trained.compile(optimizer=keras.optimizers.Adam(peer.learning_rate))

    def train() -> None:
        with keras.device(device):
            trained.fit(peer.loader, verbose=0)

    return train


LIBRARIES = {"lightning": lightning_loop, "fastai": fastai_loop, "keras": keras_loop}
LOOPS = {"usual_0": usual_script, "usual_2": usual_script, **LIBRARIES}
TUNED = "_tuned"


def installed_libraries() -> dict[str, str]:
    """Name and version of those in `LIBRARIES` that can be imported."""
    return {name: version(name) for name in LIBRARIES if find_spec(name)}


def peer_names() -> list[str]:
    """All that can run here, each as its tutorial has it and tuned."""
    names = [name for name in LOOPS if name not in LIBRARIES or find_spec(name)]
    return [name + ending for name in names for ending in ("", TUNED)]


def form_of(name: str, compute: Compute) -> Form:
    """A peer's form by its name."""
    loop = name.removesuffix(TUNED)
    if name.endswith(TUNED):
        return Form.best(compute, 0 if loop == "usual_0" else WORKERS)
    return Form.tutorial(compute, WORKERS if loop == "usual_2" else 0)


def peer_loop(name: str, workload: Workload, stopwatch: Stopwatch) -> Contender:
    """One of `peer_names()`, without what it has to say."""
    form, task = form_of(name, workload.compute), workload.new_task()
    loader = WatchedLoader(task, workload, form, stopwatch)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        train = LOOPS[name.removesuffix(TUNED)](Peer(task, workload, form, loader))

    def contend() -> float:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            train()
        return stopwatch.seconds_per_image

    return contend
