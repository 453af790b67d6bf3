"""Tensors in safetensors files, with a card that says what they are and a digest that is checked.

safetensors (https://github.com/huggingface/safetensors) holds numbers and text alone, so reading a
file runs no code from it.
"""

import hashlib
from pathlib import Path
from typing import TypeVar

import msgspec
import safetensors.torch
import torch
from msgspec import Struct
from torch import Tensor

from harness.errors import UserError
from harness.files import read_bytes, shown, write_atomically

Card = TypeVar("Card", bound=Struct)
Tensors = dict[str, Tensor]


class Seal(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A file's card, and SHA-256 over its tensors and the card's bytes."""

    card: msgspec.Raw
    sha256: str


def save_weights(path: str | Path, tensors: Tensors, card: Struct) -> None:
    """Write tensors and card whole or not at all, with a digest over both."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    raw = msgspec.json.encode(card)
    seal = Seal(card=msgspec.Raw(raw), sha256=digest_of(tensors, raw))
    # One text field alone: safetensors writes several in no fixed order.
    metadata = {"seal": msgspec.json.encode(seal).decode()}
    write_atomically(path, safetensors.torch.save(tensors, metadata))


def load_weights(path: str | Path, kind: type[Card], made_by: str) -> tuple[Tensors, Card]:
    """What `save_weights` wrote with a card of this kind, on the CPU.

    Args:
        made_by: the command that makes such a file, for the error message.

    Raises:
        UserError: the file is missing, is not such a file, is not as it was written, or has
            weights that are not finite or a negative variance.
    """
    try:
        data = read_bytes(path)
    except UserError as error:
        raise UserError(f"{error}: {made_by} makes it") from error
    try:
        length = int.from_bytes(data[:8], "little")  # of the header, after which come the tensors
        header = msgspec.json.decode(data[8 : 8 + length], type=dict[str, msgspec.Raw])
        metadata = msgspec.json.decode(header["__metadata__"], type=dict[str, str])
        seal = msgspec.json.decode(metadata["seal"], type=Seal)
        tensors = safetensors.torch.load(data)
        if seal.sha256 != digest_of(tensors, bytes(seal.card)):
            raise ValueError("its content does not match its digest")
        card = msgspec.json.decode(seal.card, type=kind)
        for name, tensor in tensors.items():  # no training leaves such weights
            if not torch.isfinite(tensor).all():
                raise ValueError(f"{name} has values that are not finite")
            if name.endswith("running_var") and (tensor < 0).any():
                raise ValueError(f"{name} has a negative variance")
    except Exception as error:  # each of the parsers fails in its own way
        raise UserError(
            f"'{shown(path)}' is not a whole file of its kind ({shown(error)}): {made_by} makes it"
        ) from error
    return tensors, card


def digest_of(tensors: Tensors, more: bytes = b"") -> str:
    """SHA-256 over names, types, shapes and values of the tensors, and over `more`."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    digest.update(more)
    return digest.hexdigest()


def fill(module: torch.nn.Module, tensors: Tensors, path: str | Path) -> None:
    """Load the tensors as all of the module's state, or none of it.

    A module on the meta device, which holds no numbers, takes the tensors as they are: so shapes
    are compared before anything is allocated.

    Raises:
        UserError: names, types or shapes are not exactly the module's.
    """
    here, there = (
        {name: f"{tuple(t.shape)} {t.dtype}" for name, t in state.items()}
        for state in (module.state_dict(), tensors)
    )
    if here != there:
        name = next(n for n in sorted({*here, *there}) if here.get(n) != there.get(n))
        raise UserError(
            f"'{shown(path)}' does not fit this network: {shown(name)} is "
            f"{there.get(name, 'missing')} there and {here.get(name, 'not known')} here (is "
            "--width that of its training?)"
        )
    on_meta = any(parameter.is_meta for parameter in module.parameters())
    module.load_state_dict(tensors, strict=True, assign=on_meta)
