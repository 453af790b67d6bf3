"""Whatever a file holds: it is read as what it should be, or refused in one line."""

import json
import os
from itertools import chain

import msgspec
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autoencoding import EncoderCard, read_encoder
from classification import ModelCard, TrainedModel
from harness.compute import set_up_compute
from harness.errors import UserError
from harness.files import read_arrays, read_bytes, read_json, shown, write_arrays, write_json
from harness.rundir import Config
from harness.weights import load_weights, save_weights
from metrics import Metrics
from recipes import ENCODER, AutoencoderRecipe, Setup

CPU = set_up_compute("cpu", "fp32")
PREDICTIONS = ("predicted", "probability", "label", "calibrated")
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
)


def model_of(path):
    return TrainedModel(path, CPU)


READERS = {
    "config.json": lambda path: read_json(path, Config[Setup]),
    "metrics.json": lambda path: read_json(path, Metrics),
    "predictions.npz": lambda path: read_arrays(path, PREDICTIONS),
    "model.safetensors": model_of,
}


def refused(read, path) -> str:
    """The one line with which reading the file ends."""
    with pytest.raises(UserError) as error:
        read(path)
    assert "\n" not in str(error.value)
    assert path.name in str(error.value)
    return str(error.value)


def test_a_folder_is_not_written_over(tmp_path):
    (tmp_path / "seen.json").mkdir()
    with pytest.raises(UserError, match=r"seen\.json' is a folder"):
        write_json(tmp_path / "seen.json", {})
    assert list(tmp_path.iterdir()) == [tmp_path / "seen.json"]


@pytest.mark.parametrize("name", READERS)
def test_other_content_is_refused(tmp_path, name):
    for content in (
        b"", b"null", b"[]", b"{}", b"7", b'"text"', b"[" * 100_000, b"\xff\xfe\x00",
        b"PK\x03\x04", b"\x80\x04\x95", b"epoch\n", b"epoch,loss\n1\n", b"a\nb\n", b"\x00" * 64,
    ):  # fmt: skip
        (tmp_path / name).write_bytes(content)
        refused(READERS[name], tmp_path / name)


@pytest.mark.parametrize("name", READERS)
def test_what_is_no_regular_file_is_refused_at_once(tmp_path, name):
    os.mkfifo(tmp_path / name)
    refused(READERS[name], tmp_path / name)
    (tmp_path / "folder" / name).mkdir(parents=True)
    with pytest.raises((UserError, IsADirectoryError)):
        READERS[name](tmp_path / "folder" / name)
    refused(READERS[name], tmp_path / "missing" / name)


def test_a_file_larger_than_any_of_ours_is_not_read(tmp_path):
    path = tmp_path / "config.json"
    with open(path, "wb") as file:
        file.truncate(20 * 2**30)  # takes no room on disk
    assert "21,474,836,480 bytes" in refused(read_bytes, path)


@pytest.mark.parametrize("name", ["config.json", "metrics.json"])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_a_json_file_with_one_other_value_is_read_or_refused(baseline_dir, tmp_path, name, data):
    content = json.loads((baseline_dir / name).read_text())
    inner = content
    while isinstance(inner, dict | list) and inner:
        holder = inner
        keys = sorted(holder) if isinstance(holder, dict) else range(len(holder))
        key = data.draw(st.sampled_from(keys))
        inner = holder[key] if data.draw(st.booleans()) else None
    holder[key] = data.draw(json_values)
    (tmp_path / name).write_text(json.dumps(content))
    try:
        READERS[name](tmp_path / name)
    except UserError as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize("field", ["width", "epochs", "seed", "shift"])
@pytest.mark.parametrize("value", [-1, 1e4, 10**30, "0.1", None, [], True])
def test_numbers_out_of_range_are_refused(baseline_dir, tmp_path, field, value):
    content = json.loads((baseline_dir / "config.json").read_text())
    content["setup"]["recipe"][field] = value
    (tmp_path / "config.json").write_text(json.dumps(content))
    assert field in refused(READERS["config.json"], tmp_path / "config.json")


def flips(data: bytes, start: int, end: int, count: int):
    """The data with one bit changed, at `count` places between start and end."""
    rng = np.random.default_rng(0)
    for place in rng.integers(start, end, count):
        damaged = bytearray(data)
        damaged[place] ^= 1 << int(rng.integers(8))
        yield bytes(damaged)


@pytest.mark.parametrize(
    ("run", "name", "read"),
    [("baseline", "model.safetensors", model_of), ("autoencoder", ENCODER, read_encoder)],
)
def test_a_flipped_bit_in_weights_is_found(run, name, read, request, tmp_path):
    data = (request.getfixturevalue(f"{run}_dir") / name).read_bytes()
    header = 8 + int.from_bytes(data[:8], "little")
    for damaged in chain(flips(data, 0, header, 50), flips(data, header, len(data), 50)):
        (tmp_path / name).write_bytes(damaged)
        refused(read, tmp_path / name)


def test_a_flipped_bit_in_arrays_is_found(baseline_dir, tmp_path):
    """An .npz file has a checksum of each array; the rest of its bytes names and places them."""
    original = READERS["predictions.npz"](baseline_dir / "predictions.npz")
    data = (baseline_dir / "predictions.npz").read_bytes()
    for damaged in flips(data, 0, len(data), 200):
        (tmp_path / "predictions.npz").write_bytes(damaged)
        try:
            arrays = READERS["predictions.npz"](tmp_path / "predictions.npz")
        except UserError:
            continue
        for name, array in original.items():  # a time stamp, say
            assert np.array_equal(array, arrays[name])


def first(name, value):
    """A change of a tensor's first number."""
    return lambda tensors, card: tensors[name].view(-1)[:1].fill_(value)


def put(name, tensor):
    return lambda tensors, card: tensors.update({name: tensor})


@pytest.mark.parametrize(("change", "said"), [
    (first("encoder.stage1.0.weight", torch.nan), "not finite"),
    (first("encoder.stage1.0.weight", torch.inf), "not finite"),
    (first("encoder.stage1.1.running_var", -1), "negative variance"),
    # Before anything of the stated size is allocated.
    (lambda tensors, card: tensors.pop("classifier.4.weight"), "does not fit"),
    (put("more", torch.zeros(3)), "does not fit"),
    (put("classifier.4.bias", torch.zeros(11)), "does not fit"),
    (put("classifier.4.bias", torch.zeros(10).double()), "does not fit"),
    (lambda tensors, card: card["recipe"].update(width=4.0), "does not fit"),
    (lambda tensors, card: card.update(classes=card["classes"][:9]), "does not fit"),
    (lambda tensors, card: card.update(classes=[str(k) for k in range(1000)]), "does not fit"),
])  # fmt: skip
def test_a_model_that_no_training_leaves_is_refused(baseline_dir, tmp_path, change, said):
    """Its digest fits, as a stranger's would."""
    tensors, card = load_weights(baseline_dir / "model.safetensors", ModelCard, "")
    card = msgspec.to_builtins(card)
    change(tensors, card)
    save_weights(tmp_path / "model.safetensors", tensors, msgspec.convert(card, ModelCard))
    assert said in refused(model_of, tmp_path / "model.safetensors")


def test_tensors_survive_their_file(tmp_path):
    tensors = {"a": torch.randn(3, 4, 2, 2).to(memory_format=torch.channels_last),
               "b": torch.tensor(7)}  # fmt: skip
    card = EncoderCard(recipe=AutoencoderRecipe(), mean=1.0, std=2.0)
    save_weights(tmp_path / "x", tensors, card)
    first = (tmp_path / "x").read_bytes()
    found, kept = load_weights(tmp_path / "x", EncoderCard, "")
    assert kept == card
    assert all(torch.equal(found[name], tensors[name]) for name in tensors)
    save_weights(tmp_path / "x", tensors, card)
    assert (tmp_path / "x").read_bytes() == first


@pytest.mark.parametrize(("array", "said"), [
    (np.zeros(10_000), "it would unpack to more"),
    (np.array([{}], dtype=object), "allow_pickle"),
    (np.array(["text"]), "something other than numbers"),
])  # fmt: skip
def test_arrays_that_are_too_large_or_no_numbers_are_refused(array, said, tmp_path, monkeypatch):
    monkeypatch.setattr("harness.files.LARGEST", 100_000)
    write_arrays(tmp_path / "predictions.npz", **dict.fromkeys(PREDICTIONS, array))
    assert said in refused(READERS["predictions.npz"], tmp_path / "predictions.npz")


def test_text_from_outside_is_shown_on_one_line():
    assert shown("a\nb\u001b[2J\u202ec é") == r"a\nb\x1b[2J\u202ec é"


def test_json_is_written_in_lines_and_read_again(tmp_path):
    setup = Setup(recipe=AutoencoderRecipe(skips=False))
    write_json(tmp_path / "x", setup)
    assert read_json(tmp_path / "x", Setup) == setup
    assert (tmp_path / "x").read_text().count("\n") > 5
