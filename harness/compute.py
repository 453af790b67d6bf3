"""How the network is computed: device, number format, memory; and on what machine."""

import ctypes
import os
import platform
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import torch
from torch import Tensor, nn

from harness.errors import UserError
from harness.progress import counted
from harness.rundir import Environment

PACKAGES = ("torch", "torchvision", "numpy", "scikit_learn")
# glibc's mallopt(3)
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
LARGEST = 2**31 - 1  # bytes
FIRST_CALLS = 2  # not recorded: libraries choose their kernels and take their memory in them


@dataclass(frozen=True)
class Compute:
    """Device, number format and memory layout.

    Args:
        graphs: whether training steps are replayed from CUDA graphs.
    """

    device: torch.device
    precision: str
    memory_format: torch.memory_format
    compile: bool
    graphs: bool = False

    def place(self, model: nn.Module) -> nn.Module:
        """Move the model's weights to the device, in the memory format."""
        return model.to(self.device, memory_format=self.memory_format)

    def callable(self, model: nn.Module) -> Callable[..., Tensor]:
        """What to call for a forward pass; the model itself keeps the weights and their names."""
        return torch.compile(model) if self.compile else model

    def autocast(self) -> torch.autocast:
        enabled = self.precision == "bf16"
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=enabled)

    def environment(self) -> Environment:
        """What a result may depend on, beside its options."""
        accelerator = torch.cuda.get_device_name() if self.device.type == "cuda" else ""
        return Environment(
            python=platform.python_version(),
            **{name: version(name.replace("_", "-")) for name in PACKAGES},
            processor=processor(),
            threads=torch.get_num_threads(),
            commit=commit(),
            device=self.device.type,
            precision=self.precision,
            memory_format=self.memory_format_name,
            compile=self.compile,
            accelerator=accelerator,
        )

    @property
    def memory_format_name(self) -> str:
        return str(self.memory_format).removeprefix("torch.")

    def __str__(self) -> str:
        parts = [str(self.device), self.precision, self.memory_format_name]
        parts += [counted(torch.get_num_threads(), "thread")] if self.device.type == "cpu" else []
        parts += ["compiled"] if self.compile else []
        return ", ".join(parts)


class Recorded:
    """Forward and backward pass as CUDA graphs, one for each shape of a batch.

    A step of a small network is hundreds of short kernels, and to launch each by itself takes
    longer than to compute them. The results are the same, bit for bit
    (https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs).

    Args:
        backward: takes a batch's tensors, leaves gradients with the parameters and gives the loss,
            of which nothing but the batch and the model's state decides.
    """

    def __init__(self, backward: Callable[..., Tensor], parameters: Sequence[nn.Parameter]):
        self.backward = backward
        self.parameters = parameters
        self.calls: Counter = Counter()  # of each shape
        self.recordings: dict[tuple, tuple] = {}  # graph, and the memory that it reads and writes

    def __call__(self, *batch: Tensor) -> Tensor:
        """The loss; it is overwritten by the next call."""
        shape = tuple(part.shape for part in batch)
        self.calls[shape] += 1
        if self.calls[shape] <= FIRST_CALLS:
            return self.backward(*batch)
        if shape not in self.recordings:
            held, graph = [part.clone() for part in batch], torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):  # computes nothing yet
                loss = self.backward(*held)
            gradients = [(p, p.grad) for p in self.parameters if p.grad is not None]
            self.recordings[shape] = graph, held, loss, gradients
        graph, held, loss, gradients = self.recordings[shape]
        for mine, given in zip(held, batch, strict=True):
            mine.copy_(given)
        graph.replay()
        for parameter, gradient in gradients:
            parameter.grad = gradient  # another shape's recording has memory of its own
        return loss


def set_up_compute(
    device: str, precision: str, compile: bool = False, threads: int | None = None
) -> Compute:
    """Set the number of threads, keep freed memory, and choose the fastest form of computing.

    The choice is the fastest that was measured (BENCHMARK.md), unless the user says otherwise.

    bf16 is chosen where the processor says that it has the instructions, since it is many times
    slower where they are emulated. Channels-last is the faster format for these convolutions on
    CPU and CUDA alike. CUDA's libraries are told to give the same bits every time
    (https://docs.pytorch.org/docs/stable/notes/randomness.html).

    Raises:
        UserError: the device is not there.
    """
    if threads:
        torch.set_num_threads(threads)
    keep_freed_memory()
    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    available = {"cuda": cuda, "mps": mps, "cpu": True}  # the best first
    if device == "auto":
        device = next(name for name, there in available.items() if there)
    elif not available[device]:
        raise UserError(f"--device {device}: PyTorch finds none here, use --device cpu")
    if precision == "auto":
        precision = "bf16" if has_fast_bf16(device) else "fp32"
    if device == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.backends.cudnn.deterministic = True
        torch.backends.cudnn.allow_tf32 = False  # fp32 is fp32
    graphs = device == "cuda" and not compile
    return Compute(torch.device(device), precision, torch.channels_last, compile, graphs)


def has_fast_bf16(device: str) -> bool:
    """Whether the device has bf16 matrix instructions."""
    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities = torch.cpu.get_capabilities()
    return device == "cpu" and any(capabilities.get(x) for x in ("avx512_bf16", "amx_bf16"))


def keep_freed_memory() -> None:
    """Have the C library keep what is freed for the next step, where it is glibc.

    By default it gives large blocks back to the system, which then clears each page anew, in
    every step: 95 ms instead of 83 for the classifier's and 142 instead of 118 for the
    autoencoder's, at width 0.5 on two cores (AMD EPYC).
    """
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    if mallopt := getattr(libc, "mallopt", None):  # other C libraries have none
        mallopt(TRIM_THRESHOLD, LARGEST)
        mallopt(MMAP_THRESHOLD, LARGEST)


def processor() -> str:
    """The processor's name and the best instructions that PyTorch can use on it."""
    capabilities = torch.cpu.get_capabilities()
    name = capabilities.get("cpu_name") or platform.processor() or "unknown processor"
    best = next(
        (x for x in ("amx_bf16", "avx512_bf16", "avx512_f", "avx2") if capabilities.get(x)), ""
    )
    return f"{name} ({platform.machine()}{' ' + best if best else ''})"


def commit(folder: Path = Path(__file__).parents[1]) -> str:
    """The project's commit; `-dirty` where its code was changed since, results aside."""
    asked = ("describe --always --abbrev=12", "status --porcelain --untracked-files=no -- *.py")
    commands = [["git", "-C", str(folder), *words.split()] for words in asked]
    try:
        name, changed = (
            subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
            for command in commands
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{name}-dirty" if changed else name
