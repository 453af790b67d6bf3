"""A run's directory: configuration, history, results, weights, and the checkpoint to go on from."""

import csv
import hashlib
import io
import json
import os
import platform
import subprocess
import tempfile
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock, Timeout

from errors import UserError

MADE_BY = {
    "alexnet": "train_baseline.py or train_pretrained.py (--overwrite after a finished run)",
    "encoder": "pretrain_autoencoder.py",
    "checkpoint": "the same command with --overwrite",
}

# What a run may leave in its folder; first what makes it finished.
ARTEFACTS = (
    "metrics.json",
    "checkpoint.pt",
    "history.csv",
    "predictions.npz",
    "reconstructions.npz",
    "model.pt",
    "encoder.pt",
    "config.json",
)

# Options that older runs do not name, since they came later, with what these runs did.
ADDED = {"target": "pixels"}


def write_atomically(path: Path, data: bytes) -> None:
    """Write `path` whole or not at all: a kill or a full disk leaves what was there before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)  # mkstemp's files are private
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


class Run:
    """One run's directory; `Run.open` makes it, finds where it stopped, or refuses.

    `results` names the files that a finished run has.
    """

    def __init__(self, folder: Path, results: tuple[str, ...], overwrite: bool):
        self.folder = folder
        self.results = results
        self.overwrite = overwrite

    @classmethod
    def open(
        cls,
        folder: str | Path,
        arm: str,
        options: dict,
        *,
        results: tuple[str, ...] = ("metrics.json",),
        overwrite: bool = False,
    ) -> "Run":
        """The run in `folder`: new, cut short, or finished; changes nothing there.

        Args:
            overwrite: it is to be a new run, and what is there goes when that starts.

        Raises:
            UserError: the folder holds a run of another arm or, without `overwrite`, with other
                options.
        """
        run = cls(Path(folder), results, overwrite)
        run.config = {"arm": arm, "options": options}
        if run.config_path.exists():
            run._refuse_other(read_json(run.config_path))
        return run

    def start(self, data: dict, environment: dict) -> None:
        """Write the configuration of a new run, or hold one that was cut against it.

        Raises:
            UserError: another process is at work there, or the run was started on other data.
        """
        self._lock()
        for leftover in self.folder.glob(".*.tmp"):  # of a run that was killed while writing
            leftover.unlink()
        if self.overwrite:
            for name in ARTEFACTS:
                (self.folder / name).unlink(missing_ok=True)
        self.config |= {"data": data, "environment": environment}
        if not self.checkpoint_path.exists():
            self.write_json("config.json", self.config)
            return
        kept = read_json(self.config_path)
        if kept["data"] != data:
            raise UserError(f"'{self.folder}' was started on other data: use --overwrite")
        if kept["environment"] | {"commit": ""} != environment | {"commit": ""}:
            print("note: started in another environment, so the last digits may differ", flush=True)

    def _lock(self) -> None:
        """Have the folder for this process alone until it ends, however it ends."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.lock = FileLock(self.folder / ".lock", is_singleton=True)  # held once a process
        try:
            self.lock.acquire(timeout=0)
        except Timeout:
            raise UserError(
                f"another process is at work in '{self.folder}': wait for it, or name another "
                "--run-dir"
            ) from None

    def _refuse_other(self, kept: dict) -> None:
        if kept.get("arm") != self.config["arm"]:
            raise UserError(
                f"'{self.folder}' holds a run of {kept.get('arm')}: name another folder"
            )
        if self.overwrite:
            return
        options, before = self.config["options"], kept.get("options", {})
        before = {name: ADDED[name] for name in options if name in ADDED} | before
        differences = [
            f"--{name.replace('_', '-')} is {before.get(name)} there and {options.get(name)} here"
            for name in sorted({*options, *before})
            if not same(before.get(name), options.get(name))
        ]
        if differences:
            raise UserError(
                f"'{self.folder}' holds a run with other options ({'; '.join(differences)}): "
                "name another --run-dir, or start it afresh with --overwrite"
            )

    @property
    def finished(self) -> bool:
        there = all((self.folder / name).exists() for name in self.results)
        return there and not self.overwrite

    @property
    def config_path(self) -> Path:
        return self.folder / "config.json"

    @property
    def checkpoint_path(self) -> Path:
        return self.folder / "checkpoint.pt"

    def save_checkpoint(self, state: dict) -> None:
        save_weights(self.checkpoint_path, "checkpoint", state)

    def load_checkpoint(self) -> dict | None:
        """The state after the last full epoch, or None at the start of a run."""
        if not self.checkpoint_path.exists():
            return None
        return load_weights(self.checkpoint_path, "checkpoint")

    def finish(self, metrics: dict) -> None:
        """Write the last result, after which the run is finished."""
        self.write_json("metrics.json", metrics)
        self.checkpoint_path.unlink(missing_ok=True)
        print(f"finished: {self.folder}", flush=True)

    def say_finished(self) -> None:
        self.checkpoint_path.unlink(missing_ok=True)
        print(f"{self.folder} is finished; --overwrite starts it afresh", flush=True)

    def write_history(self, rows: list[dict]) -> None:
        """A row an epoch, at full precision."""
        text = io.StringIO()
        writer = csv.DictWriter(text, rows[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_atomically(self.folder / "history.csv", text.getvalue().encode())

    def write_json(self, name: str, content: dict) -> None:
        text = json.dumps(content, indent=2, allow_nan=False) + "\n"
        write_atomically(self.folder / name, text.encode())

    def write_arrays(self, name: str, **arrays: np.ndarray) -> None:
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **arrays)
        write_atomically(self.folder / name, buffer.getvalue())

    def write_weights(self, name: str, kind: str, content: dict) -> None:
        save_weights(self.folder / name, kind, content)


def same(before: object, here: object) -> bool:
    """Whether two options are equal; an encoder's options are its pretraining's."""
    if isinstance(before, dict) and isinstance(here, dict):
        return ADDED | before == ADDED | here
    return before == here


def read_json(path: Path) -> dict:
    """The object in a JSON file. Raises UserError when it is not one."""
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise UserError(f"'{path}' is not whole JSON ({error}): delete it") from error


def save_weights(path: Path, kind: str, content: dict) -> None:
    """Tensors and plain values, with a tag of what they are."""
    buffer = io.BytesIO()
    torch.save({"kind": kind, **content}, buffer)
    write_atomically(path, buffer.getvalue())


def load_weights(path: str | Path, kind: str) -> dict:
    """What `save_weights` wrote under the same `kind`, on the CPU; no code in it is run.

    Raises:
        UserError: the file is missing, not such a file, or of another kind.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"'{path}' is missing: {MADE_BY[kind]} makes it")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # what is no pickle can fail in the unpickler in any way
        raise UserError(
            f"'{path}' is not a file of weights, or is damaged: {MADE_BY[kind]} makes it"
        ) from error
    found = content.get("kind") if isinstance(content, dict) else None
    if found != kind:
        raise UserError(
            f"'{path}' is not of the kind '{kind}' but '{found}': {MADE_BY[kind]} makes it"
        )
    return content


def tensors_digest(state: dict) -> str:
    """SHA-256 over the names, types, shapes and values of a state dict's tensors."""
    digest = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()


def describe_environment() -> dict:
    """Versions, processor, threads and commit: what a result may depend on beside the options."""
    packages = ("torch", "torchvision", "numpy", "scikit-learn")
    return {
        "python": platform.python_version(),
        **{package: version(package) for package in packages},
        "processor": _processor(),
        "threads": torch.get_num_threads(),
        "commit": _commit(),
    }


def _processor() -> str:
    capabilities = torch.cpu.get_capabilities()
    name = capabilities.get("cpu_name") or platform.processor() or "unknown processor"
    best = next(
        (x for x in ("amx_bf16", "avx512_bf16", "avx512_f", "avx2") if capabilities.get(x)), ""
    )
    return f"{name} ({platform.machine()}{' ' + best if best else ''})"


def _commit() -> str:
    try:
        answer = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return answer.stdout.strip()
