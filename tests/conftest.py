"""Shared by the tests: tiny archives that pass for Fashion-MNIST, and short runs on the digits."""

import gzip
import hashlib
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import data
import pretrain_autoencoder
import train_baseline
from classification import ModelCard
from harness.weights import load_weights

torch.set_num_threads(1)

ROOT = Path(__file__).parents[1]
TINY = ["--dataset", "digits", "--width", "0.1", "--epochs", "2"]


def idx_archive(array: np.ndarray) -> bytes:
    """A gzipped IDX file of unsigned bytes, put together by hand."""
    sizes = b"".join(struct.pack(">I", size) for size in array.shape)
    header = b"\x00\x00\x08" + bytes([array.ndim]) + sizes
    return gzip.compress(header + array.astype(np.uint8).tobytes(), mtime=0)


@pytest.fixture
def archives(monkeypatch) -> dict[str, bytes]:
    """File name to bytes for a tiny data set, whose checksums stand in for the official ones."""
    rng = np.random.default_rng(0)
    arrays = {
        "train_images": rng.integers(0, 256, (120, 28, 28)),
        "train_labels": np.arange(120) % 10,
        "test_images": rng.integers(0, 256, (20, 28, 28)),
        "test_labels": np.arange(20) % 10,
    }
    files = {data.FILES[part]: idx_archive(array) for part, array in arrays.items()}
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    sizes = tuple(len(content) for content in files.values())
    monkeypatch.setattr(data, "FASHION_SHA256", digests)
    monkeypatch.setitem(data.ARCHIVE_BYTES, "fashion", sizes)
    return files


@pytest.fixture
def data_dir(tmp_path, archives):
    """A data folder that holds the tiny data set."""
    raw = tmp_path / "data" / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for name, content in archives.items():
        (raw / name).write_bytes(content)
    return tmp_path / "data"


@pytest.fixture(scope="session")
def autoencoder_dir(tmp_path_factory):
    """A finished pretraining run."""
    return finished(pretrain_autoencoder.main, tmp_path_factory.mktemp("autoencoder"))


@pytest.fixture(scope="session")
def baseline_dir(tmp_path_factory):
    """A finished baseline run."""
    return finished(train_baseline.main, tmp_path_factory.mktemp("baseline"))


def python(code: str, *arguments, cwd=ROOT, **options) -> str:
    """What this code prints in a process of its own, which must end well."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    shown = {"stdout": subprocess.PIPE, "text": True, "check": True}
    return subprocess.run(command, cwd=cwd, **shown, **options).stdout


def finished(main, runs_dir, *options):
    """The folder of a run that ends here."""
    main([*TINY, *options, "--runs-dir", str(runs_dir)])
    return only_run(runs_dir)


def only_run(runs_dir):
    """The folder of the only run below."""
    (config,) = runs_dir.glob("*/seed*/config.json")
    return config.parent


def weights_of(folder):
    """The tensors of a run's model."""
    return load_weights(folder / "model.safetensors", ModelCard, "")[0]


def history_without_seconds(folder):
    lines = (folder / "history.csv").read_text().splitlines()
    assert lines[0].endswith(",seconds")
    return [line.rsplit(",", 1)[0] for line in lines]


def assert_same_results(folder, other):
    """Two runs' folders hold the same bytes, but for times and machines, and nothing left over."""
    assert history_without_seconds(folder) == history_without_seconds(other)
    for path in other.iterdir():
        if path.name not in ("history.csv", "config.json", ".lock"):
            assert (folder / path.name).read_bytes() == path.read_bytes(), path.name
    assert not list(folder.glob(".*.tmp"))
    assert not (folder / "checkpoint.safetensors").exists()


@pytest.fixture
def interrupt(monkeypatch):
    """Have a script end in Ctrl-C, in place of the `call`-th call of a function."""

    def run(main, command, owner, name, call):
        original, calls = getattr(owner, name), []

        def replacement(*args, **kwargs):
            calls.append(None)
            if len(calls) == call:
                raise KeyboardInterrupt
            return original(*args, **kwargs)

        with monkeypatch.context() as patch, pytest.raises(SystemExit) as exit_:
            patch.setattr(owner, name, replacement)
            main([str(option) for option in command])
        assert exit_.value.code == 130

    return run


@pytest.fixture
def fails(capsys):
    """Run a script's main; it must exit with 2 and one line, which is returned."""

    def run(main, *options) -> str:
        capsys.readouterr()
        with pytest.raises(SystemExit) as exit_:
            main([str(option) for option in options])
        error = capsys.readouterr().err
        assert exit_.value.code == 2
        assert error.count("\n") == 1, error
        return error

    return run
