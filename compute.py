"""Where and in which form the arithmetic is done: device, precision, memory."""

import ctypes
import sys
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from errors import UserError

# glibc's mallopt(3)
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
LARGEST = 2**31 - 1  # bytes


@dataclass(frozen=True)
class Compute:
    """Where and in which form the arithmetic is done."""

    device: torch.device
    precision: str
    memory_format: torch.memory_format
    compile: bool

    def place(self, model: nn.Module) -> nn.Module:
        """Move the model's weights to the device, in the memory format."""
        return model.to(self.device, memory_format=self.memory_format)

    def callable(self, model: nn.Module) -> Callable[..., Tensor]:
        """What to call for a forward pass; the model itself keeps the weights and their names."""
        return torch.compile(model) if self.compile else model

    def autocast(self) -> torch.autocast:
        enabled = self.precision == "bf16"
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=enabled)

    def describe(self) -> dict[str, str | bool]:
        gpu = {"accelerator": torch.cuda.get_device_name()} if self.device.type == "cuda" else {}
        return gpu | {
            "device": self.device.type,
            "precision": self.precision,
            "memory_format": str(self.memory_format).removeprefix("torch."),
            "compile": self.compile,
        }

    def __str__(self) -> str:
        compiled = ", compiled" if self.compile else ""
        threads = f", {torch.get_num_threads()} threads" if self.device.type == "cpu" else ""
        description = self.describe()
        return f"{self.device}, {self.precision}, {description['memory_format']}{threads}{compiled}"


def choose_compute(
    device: str = "auto",
    precision: str = "auto",
    compile: bool = False,
    threads: int | None = None,
) -> Compute:
    """The fastest choice that was measured (README, «How fast»), unless the user says otherwise.

    bf16 is chosen where the processor says that it has the instructions, since it is many times
    slower where they are emulated. Channels-last is the faster format for these convolutions on
    CPU and CUDA alike.

    Raises:
        UserError: the device is not there.
    """
    if threads:
        torch.set_num_threads(threads)
    keep_freed_memory()
    available = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if device == "auto":
        device = next(name for name, there in available.items() if there)
    elif not available[device]:
        raise UserError(f"--device {device}: PyTorch finds none here, use --device cpu")
    if precision == "auto":
        precision = "bf16" if has_fast_bf16(device) else "fp32"
    return Compute(torch.device(device), precision, torch.channels_last, compile)


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
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # other C libraries have none
    if mallopt:
        mallopt(TRIM_THRESHOLD, LARGEST)
        mallopt(MMAP_THRESHOLD, LARGEST)
