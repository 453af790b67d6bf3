"""The scripts as a user runs them."""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import TINY, finished

import training
from autoencoding import (
    AuxiliaryReconstruction,
    EncoderCard,
    read_encoder,
    reconstruction_batch,
    reconstruction_loss,
)
from batches import PATCH, SIZE, Batches, Normalisation
from classification import ModelCard
from harness.files import read_json
from harness.rundir import Config
from harness.weights import load_weights
from models import AlexNet
from plot import main as plot
from pretrain_autoencoder import main as pretrain
from recipes import AutoencoderRecipe, ClassifierRecipe, Setup
from train_baseline import main as baseline
from train_pretrained import main as pretrained

HERE = Path(__file__).parent.parent
SCRIPTS = sorted(
    path.stem for path in HERE.glob("*.py") if "\n@exit_cleanly\ndef main(" in path.read_text()
)


def shell(command, **environment):
    """What a shell command gives, with this Python as `python`."""
    python = f"{sys.executable} -W error::BytesWarning"
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command.replace('python ', f'{python} ', 1)}"],
        capture_output=True,
        cwd=HERE,
        env=os.environ | environment,
    )


@pytest.mark.parametrize("own", [{}, {"GOMP_SPINCOUNT": "7"}, {"OMP_WAIT_POLICY": "ACTIVE"}])
def test_threads_that_wait_leave_their_cores_soon(own):
    """Said before torch is there, which reads it as it is loaded; a user's own word stands."""
    code = (
        "import os, sys, train_baseline\ntry: train_baseline.main(['--help'])\n"
        "except SystemExit: pass\n"
        "print('torch' in sys.modules, os.environ.get('GOMP_SPINCOUNT'))"
    )
    known = {k: v for k, v in os.environ.items() if not k.startswith(("GOMP_", "OMP_"))}
    result = subprocess.run(
        [sys.executable, "-c", code], env=known | own, cwd=HERE, capture_output=True, text=True
    )
    count = own.get("GOMP_SPINCOUNT", None if own else "3000")
    assert result.stdout.splitlines()[-1] == f"False {count}"


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_is_instant_and_the_shell_is_told_that_a_script_completes(script):
    assert len(SCRIPTS) == 8
    assert "PYTHON_ARGCOMPLETE_OK" in (HERE / f"{script}.py").read_text()[:1024]
    code = (
        f"import sys, {script}\ntry: {script}.main(['--help'])\nexcept SystemExit: pass\n"
        "sys.exit('torch' in sys.modules)"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL, cwd=HERE)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    # Processor seconds: a busy machine must not fail the test.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("train_baseline.py --label-f", "--label-fraction"),
        ("train_baseline.py --preset ", "default original fast"),
        ("study.py --dataset ", "fashion digits"),
        ("predict.py --vers", "--version"),
    ],
)
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


@pytest.mark.parametrize(
    "options",
    [
        "--dataset imagenet", "--label-fraction 0", "--label-fraction 1.5", "--label-fraction nan",
        "--epochs 0", "--epochs ten", "--batch-size -1", "--seed -1", "--width 0", "--width 1e3",
        "--learning-rate inf", "--label-smoothing 1", "--precision fp8", "--epoch 3",
        f"--threads {10**12}", f"--shift {10**9}", f"--epochs {10**30}",
        "--preset none", "--optimizer sgd",
    ],
)  # fmt: skip
def test_bad_options(fails, options):
    assert options.split()[0] in fails(baseline, *options.split())


def test_a_folder_without_data(fails, tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError("no network")

    monkeypatch.setattr("urllib.request.OpenerDirector.open", refuse)
    place = ["--data-dir", tmp_path / "none", "--runs-dir", tmp_path / "runs"]
    assert "--data-dir" in fails(baseline, *place)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("place", ["file", "file/mine"])
def test_a_file_is_no_folder_of_runs(fails, tmp_path, place):
    (tmp_path / "file").write_text("")
    line = fails(baseline, *TINY, "--runs-dir", tmp_path / place)
    assert "file' is a file, not a folder of runs" in line


def weights_of(folder, name="model.safetensors", card=ModelCard):
    return load_weights(folder / name, card, "")[0]


def test_the_pretrained_arm(autoencoder_dir, tmp_path):
    file = autoencoder_dir / "encoder.safetensors"
    folder = finished(pretrained, tmp_path, "--encoder", str(file), "--freeze-encoder")
    kept, source = read_encoder(file)
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


def test_an_auxiliary_loss_trains_the_encoder_and_leaves_a_classifier_alone(tmp_path):
    few = ["--label-fraction", "0.1", "--skip-test", "--learning-rate", "1e-4"]
    without, with_it = (
        weights_of(finished(baseline, tmp_path / weight, *few, "--auxiliary-loss", weight))
        for weight in ("0", "10")
    )
    assert without.keys() == with_it.keys()
    assert not torch.equal(without["encoder.stage1.0.weight"], with_it["encoder.stage1.0.weight"])


def test_an_auxiliary_loss_takes_statistics_of_whole_images_alone():
    encoder = AlexNet(0.1).encoder
    images = torch.randint(256, (8, 28, 28), dtype=torch.uint8)
    unlabelled = Batches(images, torch.zeros(8).long(), Normalisation(128.0, 64.0), batch_size=8)
    auxiliary = AuxiliaryReconstruction(encoder, unlabelled, ClassifierRecipe(auxiliary_loss=0.5))
    before = encoder.stage1[1].running_mean.clone()
    (batch,) = auxiliary.epoch(0)
    loss = auxiliary.loss(encoder, *batch)
    loss.backward()
    assert torch.equal(encoder.stage1[1].running_mean, before)
    assert encoder.stage1[0].weight.grad.abs().sum() > 0
    output = auxiliary.decoder(*encoder(batch[0]))
    assert loss.item() == pytest.approx(0.5 * reconstruction_loss(output, *batch[1:]).item())
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
    line = fails(pretrained, *TINY, "--encoder", tmp_path / "encoder.safetensors")
    assert "encoder.safetensors' is missing: pretrain_autoencoder.py makes it" in line
    options = ["--preset", "original", "--seed", 42, "--dataset", "digits", "--runs-dir", tmp_path]
    command = "--preset original --dataset digits --seed 42 --runs-dir"
    made_by = (
        f"seed42/encoder.safetensors' is missing: pretrain_autoencoder.py {command} {tmp_path}"
    )
    assert f"{made_by} makes it" in fails(pretrained, *options)


def test_a_file_that_is_not_this_models_encoder(fails, autoencoder_dir, baseline_dir, tmp_path):
    place = ["--runs-dir", tmp_path, "--encoder"]
    classifier, encoder = (
        baseline_dir / "model.safetensors",
        autoencoder_dir / "encoder.safetensors",
    )
    assert "'classifier'" in fails(pretrained, *TINY, *place, classifier)
    assert "--width" in fails(pretrained, *TINY, "--width", 0.2, *place, encoder)


def test_without_corruption_or_skips(tmp_path):
    options = ["--corruption", "none", "--no-skips", "--image-fraction", "0.1"]
    config = read_json(finished(pretrain, tmp_path, *options) / "config.json", Config[Setup])
    assert config.setup.name == "autoencoder-digits-none-noskips-images10-epochs2-width0.1"
    assert config.data.train_images == 138  # of 1,375


@pytest.mark.parametrize("target", ["pixels", "normalised"])
def test_other_targets(target, tmp_path):
    folder = finished(pretrain, tmp_path, "--target", target)
    assert load_weights(folder / "encoder.safetensors", EncoderCard, "")[1].recipe.target == target
    with np.load(folder / "reconstructions.npz") as arrays:
        assert arrays["output"].shape == (10, 28, 28)
    finished(pretrained, tmp_path / "p", "--encoder", str(folder / "encoder.safetensors"))
    assert list(tmp_path.glob(f"p/pretrained-digits-*from-{target}*/seed0/metrics.json"))


def test_what_is_wanted_of_each_target():
    images = torch.randn(4, 1, 28, 28)
    wanted = [
        reconstruction_batch(images, AutoencoderRecipe(target=target), torch.Generator())[1]
        for target in ("pixels", "normalised", "gradients")
    ]
    assert torch.equal(wanted[0], images)
    assert wanted[1].shape == images.shape and not torch.equal(wanted[1], images)
    assert wanted[2].shape == (4, 9, 28, 28) and torch.equal(wanted[2][:, :1], wanted[1])


def test_normalised_patches_get_their_means_back(autoencoder_dir):
    with np.load(autoencoder_dir / "reconstructions.npz") as arrays:
        original, hidden = arrays["original"], np.isnan(arrays["corrupted"])
        # Two epochs on the digits do little, but each patch has its own mean back.
        error = np.square(arrays["output"] - original)[hidden].mean()
    assert error < np.square(original.mean() - original)[hidden].mean()


def test_plot_without_runs(fails, tmp_path):
    assert "train first" in fails(plot, "--runs-dir", tmp_path / "runs")


def test_patches_match_the_last_stages_grid():
    assert SIZE // PATCH == 7


def test_closed_streams_fail_nothing(baseline_dir):
    command = f"python train_baseline.py {' '.join(TINY)} --runs-dir {baseline_dir.parent.parent}"
    for redirection in (">&-", ">&- 2>&-", "2>&-"):
        assert shell(f"{command} {redirection}").returncode == 0


@pytest.mark.parametrize(
    ("command", "code", "words"),
    [
        # A reader that has gone is met in silence.
        ("python study.py --dry-run --runs-dir nowhere | true", 141, b""),
        ("python study.py --dry-run --runs-dir nowhere > /dev/full", 2, b"No space left"),
        # File names hold any character, and so may what is said of them.
        ("python train_pretrained.py --encoder 'Mäntel–女.safetensors'", 2, b"is missing"),
        ("python train_pretrained.py --encoder $'a\\nb\\x1b[2J'", 2, b"is missing"),
    ],
)
def test_whatever_happens_to_the_streams_is_a_line_at_most(command, code, words):
    result = shell(command, PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert result.returncode == code
    assert words in result.stderr and b"\x1b" not in result.stderr
    assert result.stderr.count(b"\n") == (1 if words else 0)
