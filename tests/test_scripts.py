"""The scripts as a user runs them."""

import json
import os
import subprocess
import sys
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from conftest import ROOT, TINY, finished, python, weights_of

import autoencoding
import training
from batches import Batches, Normalisation
from harness.errors import share_cores
from harness.files import read_json
from harness.rundir import Config
from models import AlexNet
from pretrain_autoencoder import main as pretrain
from recipes import AutoencoderRecipe, ClassifierRecipe, Setup
from train_baseline import main as baseline
from train_pretrained import main as pretrained

SCRIPTS = sorted(
    path.stem for path in ROOT.glob("*.py") if "\n@exit_cleanly\ndef main(" in path.read_text()
)


def shell(command, **environment):
    """What a shell command gives, with this Python as `python`."""
    command = command.replace("python ", f"{sys.executable} -W error::BytesWarning ", 1)
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"],
        capture_output=True,
        cwd=ROOT,
        env=os.environ | environment,
    )


@pytest.mark.parametrize("own", [{}, {"GOMP_SPINCOUNT": "7"}, {"OMP_WAIT_POLICY": "ACTIVE"}])
def test_threads_that_wait_leave_their_cores_soon(own, monkeypatch):
    """A user's own word stands."""
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in own.items():
        monkeypatch.setenv(name, value)
    share_cores()
    expected = own.get("GOMP_SPINCOUNT", None if own else "3000")
    assert os.environ.get("GOMP_SPINCOUNT") == expected


def test_help_is_instant_and_the_shell_is_told_that_a_script_completes():
    assert len(SCRIPTS) == 8
    for script in SCRIPTS:
        assert "PYTHON_ARGCOMPLETE_OK" in (ROOT / f"{script}.py").read_text()[:1024], script
    code = (
        "import importlib, os, sys, time\n"
        "for script in sys.argv[1:]:\n"
        "    try: importlib.import_module(script).main(['--help'])\n"
        "    except SystemExit: pass\n"
        "    assert 'torch' not in sys.modules, script\n"
        # Which torch reads as it is loaded.
        "print(os.environ['GOMP_SPINCOUNT'], time.process_time())"
    )
    known = {k: v for k, v in os.environ.items() if not k.startswith(("GOMP_", "OMP_"))}
    spins, seconds = python(code, *SCRIPTS, env=known).splitlines()[-1].split()
    assert spins == "3000"
    assert float(seconds) < 1  # of the processor: a busy machine must not fail the test


@pytest.mark.parametrize(("line", "offered"), [
    ("train_baseline.py --label-f", "--label-fraction"),
    ("study.py --dataset ", "fashion digits"),
    ("predict.py --vers", "--version"),
])  # fmt: skip
def test_the_shell_completes_options(line, offered, tmp_path):
    """As argcomplete's part in the shell asks for it."""
    asked = {
        "_ARGCOMPLETE": "1",
        "_ARGCOMPLETE_IFS": " ",
        "_ARGCOMPLETE_STDOUT_FILENAME": str(tmp_path / "offered"),
        "COMP_LINE": line,
        "COMP_POINT": str(len(line)),
    }
    assert shell(f"python {line.split()[0]}", **asked).returncode == 0
    assert (tmp_path / "offered").read_text().split() == offered.split()


@pytest.mark.parametrize("options", [
    "--dataset imagenet", "--label-fraction 0", "--label-fraction 1.5", "--label-fraction nan",
    "--epochs 0", "--epochs ten", "--batch-size -1", "--seed -1", "--width 0", "--width 1e3",
    "--learning-rate inf", "--label-smoothing 1", "--precision fp8", "--epoch 3", "--preset none",
    f"--threads {10**12}", f"--shift {10**9}", f"--epochs {10**30}", "--optimizer sgd",
])  # fmt: skip
def test_bad_options(fails, options):
    assert options.split()[0] in fails(baseline, *options.split())


def test_a_folder_without_data(fails, tmp_path, monkeypatch):
    no_network = Mock(side_effect=OSError("no network"))
    monkeypatch.setattr("urllib.request.OpenerDirector.open", no_network)
    place = ["--data-dir", tmp_path / "none", "--runs-dir", tmp_path / "runs"]
    assert "--data-dir" in fails(baseline, *place)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("place", ["file", "file/mine"])
def test_a_file_is_no_folder_of_runs(fails, tmp_path, place):
    (tmp_path / "file").write_text("")
    line = fails(baseline, *TINY, "--runs-dir", tmp_path / place)
    assert "file' is a file, not a folder of runs" in line


def test_the_pretrained_arm(autoencoder_dir, tmp_path):
    file = autoencoder_dir / "encoder.safetensors"
    folder = finished(pretrained, tmp_path, "--encoder", str(file), "--freeze-encoder")
    kept, source = autoencoding.read_encoder(file)
    state = weights_of(folder)
    changed = {name for name, value in kept.items() if (state[f"encoder.{name}"] != value).any()}
    # Weights stay; statistics are taken anew, since pretraining saw corrupted images.
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    assert changed == {name for name in kept if name.endswith(statistics)}
    setup = read_json(folder / "config.json", Config[Setup]).setup
    assert setup.encoder == source
    assert setup.encoder.recipe.corruption == "mask"
    assert folder == setup.folder(tmp_path)
    assert setup.name == "pretrained-digits-frozen-epochs2-width0.1-from-epochs2"


@pytest.mark.parametrize("preset", ["default", "original"])
def test_by_default_it_starts_from_its_presets_own_pretraining(preset, tmp_path):
    options = ["--preset", preset, "--width", "0.05", "--batch-size", "2000"]
    finished(pretrain, tmp_path, *options, "--epochs", "1")
    name = f"autoencoder-digits{'-original' if preset == 'original' else ''}-width0.05"
    next(tmp_path.iterdir()).rename(tmp_path / name)
    pretrained([*TINY, *options, "--runs-dir", str(tmp_path), "--skip-test"])
    assert list(tmp_path.glob("pretrained-*/seed0/metrics.json"))


def test_a_frozen_random_encoder_has_statistics_and_the_test_set_can_be_left_alone(tmp_path):
    folder = finished(baseline, tmp_path, "--freeze-encoder", "--skip-test")
    assert (weights_of(folder)["encoder.stage1.1.running_var"] != 1).all()
    assert json.loads((folder / "metrics.json").read_text()).get("test") is None
    assert not (folder / "predictions.npz").exists()


def test_an_auxiliary_loss_takes_statistics_of_whole_images_alone():
    encoder = AlexNet(0.1).encoder
    images = torch.randint(256, (8, 28, 28), dtype=torch.uint8)
    unlabelled = Batches(images, torch.zeros(8).long(), Normalisation(128.0, 64.0), batch_size=8)
    recipe = ClassifierRecipe(auxiliary_loss=0.5)
    auxiliary = autoencoding.AuxiliaryReconstruction(encoder, unlabelled, recipe)
    before = encoder.stage1[1].running_mean.clone()
    (batch,) = auxiliary.epoch(0)
    loss = auxiliary.loss(encoder, *batch)
    loss.backward()
    assert torch.equal(encoder.stage1[1].running_mean, before)
    assert encoder.stage1[0].weight.grad.abs().sum() > 0
    output = auxiliary.decoder(*encoder(batch[0]))
    plain = autoencoding.reconstruction_loss(output, *batch[1:])
    assert loss.item() == pytest.approx(0.5 * plain.item())
    assert not torch.equal(encoder.stage1[1].running_mean, before)


def test_an_auxiliary_loss_needs_an_encoder_that_is_trained(fails, tmp_path):
    options = ["--freeze-encoder", "--auxiliary-loss", "1", "--runs-dir", tmp_path / "runs"]
    assert "leave out --freeze-encoder" in fails(baseline, *TINY, *options)
    assert not (tmp_path / "runs").exists()


def test_the_arms_are_paired(autoencoder_dir, tmp_path, monkeypatch):
    """For one seed: the same batches in the same order, and the same classifier to start with."""
    seen = []

    def stop(run, task, pictures):
        seen.append((*next(iter(task.epoch(0))), task.model.classifier[-1].weight, task.model))
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "fit", stop)
    encoder = ["--encoder", str(autoencoder_dir / "encoder.safetensors")]
    for main, options in ((baseline, []), (pretrained, encoder)):
        with pytest.raises(SystemExit):
            main([*TINY, *options, "--runs-dir", str(tmp_path / main.__module__)])
    (*one, scratch), (*other, started) = seen
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    first, second = (model.encoder.stage1[0].weight for model in (scratch, started))
    assert not torch.equal(first, second)


def test_a_missing_encoder_is_an_error(fails, tmp_path):
    options = ["--preset", "original", "--seed", 42, "--dataset", "digits", "--runs-dir", tmp_path]
    line = fails(pretrained, *options)
    command = f"--preset original --dataset digits --seed 42 --runs-dir {tmp_path}"
    made_by = f"is missing: pretrain_autoencoder.py {command} makes it"
    assert f"seed42/encoder.safetensors' {made_by}" in line


def test_a_file_that_is_not_this_models_encoder(fails, autoencoder_dir, baseline_dir, tmp_path):
    place = ["--runs-dir", tmp_path, "--encoder"]
    classifier = baseline_dir / "model.safetensors"
    encoder = autoencoder_dir / "encoder.safetensors"
    assert "'classifier'" in fails(pretrained, *TINY, *place, classifier)
    assert "--width" in fails(pretrained, *TINY, "--width", 0.2, *place, encoder)


@pytest.mark.parametrize(("options", "target", "images"), [
    ("--corruption none --no-skips --image-fraction 0.1", "pixels", 138),  # of 1,375
    ("--target normalised", "normalised", 1375),
])  # fmt: skip
def test_other_pretrainings(options, target, images, tmp_path):
    folder = finished(pretrain, tmp_path, *options.split())
    assert read_json(folder / "config.json", Config[Setup]).data.train_images == images
    recipe = autoencoding.read_encoder(folder / "encoder.safetensors")[1].recipe
    assert (recipe.target, recipe.skips) == (target, "--no-skips" not in options)
    with np.load(folder / "reconstructions.npz") as arrays:
        assert arrays["output"].shape == (10, 28, 28)


def test_what_is_wanted_of_each_target():
    images = torch.randn(4, 1, 28, 28)
    recipes = [AutoencoderRecipe(target=t) for t in ("pixels", "normalised", "gradients")]
    rng = torch.Generator()
    wanted = [autoencoding.reconstruction_batch(images, recipe, rng)[1] for recipe in recipes]
    assert torch.equal(wanted[0], images)
    assert wanted[1].shape == images.shape and not torch.equal(wanted[1], images)
    assert wanted[2].shape == (4, 9, 28, 28) and torch.equal(wanted[2][:, :1], wanted[1])


def test_normalised_patches_get_their_means_back(autoencoder_dir):
    with np.load(autoencoder_dir / "reconstructions.npz") as arrays:
        original, hidden = arrays["original"], np.isnan(arrays["corrupted"])
        # Two epochs on the digits do little, but each patch has its own mean back.
        error = np.square(arrays["output"] - original)[hidden].mean()
    assert error < np.square(original.mean() - original)[hidden].mean()


DRY_RUN = "python study.py --dry-run --runs-dir nowhere"


@pytest.mark.parametrize(("command", "code", "words"), [
    (f"{DRY_RUN} | true", 141, b""),  # a reader that has gone is met in silence
    (f"{DRY_RUN} > /dev/full", 2, b"No space left"),
    (f"{DRY_RUN} >&-", 0, b""), (f"{DRY_RUN} 2>&-", 0, b""), (f"{DRY_RUN} >&- 2>&-", 0, b""),
    # File names hold any character, and so may what is said of them.
    ("python train_pretrained.py --encoder $'Mäntel–女\\nb\\x1b[2J'", 2, b"py makes it"),
])  # fmt: skip
def test_whatever_happens_to_the_streams_is_a_line_at_most(command, code, words):
    result = shell(command, PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert result.returncode == code
    assert words in result.stderr and b"\x1b" not in result.stderr
    assert result.stderr.count(b"\n") == (1 if words else 0)
