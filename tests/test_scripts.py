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
from conftest import TINY, only_run

import batches
from autoencoding import AuxiliaryReconstruction, EncoderCard, read_encoder, reconstruction_loss
from batches import Batches, Normalisation
from classification import ModelCard
from harness.files import read_json
from harness.rundir import Config
from harness.weights import load_weights
from models import AlexNet
from plot import main as plot
from pretrain_autoencoder import main as pretrain
from recipes import ClassifierRecipe, Setup
from train_baseline import main as baseline
from train_pretrained import main as pretrained

HERE = Path(__file__).parent.parent
SCRIPTS = [
    "train_baseline",
    "pretrain_autoencoder",
    "train_pretrained",
    "study",
    "plot",
    "predict",
    "benchmark",
    "export",
]


def test_a_reader_that_has_gone_is_met_in_silence():
    shell = f"set -o pipefail; {sys.executable} study.py --dry-run --runs-dir nowhere | true"
    result = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, cwd=HERE)
    assert (result.returncode, result.stderr) == (141, "")


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
def test_help_is_instant(script):
    code = (
        f"import sys, {script}\ntry: {script}.main(['--help'])\nexcept SystemExit: pass\n"
        "sys.exit('torch' in sys.modules)"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    # Processor seconds: a busy machine must not fail the test.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("train_baseline.py --label-f", "--label-fraction"),
        ("study.py --dataset ", "fashion digits"),
        ("study.py --blocks fr", "frozen"),
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


@pytest.mark.parametrize("script", SCRIPTS)
def test_the_shell_is_told_that_a_script_completes(script):
    assert "PYTHON_ARGCOMPLETE_OK" in (HERE / f"{script}.py").read_text()[:1024]


@pytest.mark.parametrize(
    "options",
    [
        ["--dataset", "imagenet"],
        ["--label-fraction", "0"],
        ["--label-fraction", "1.5"],
        ["--label-fraction", "nan"],
        ["--epochs", "0"],
        ["--epochs", "ten"],
        ["--batch-size", "-1"],
        ["--seed", "-1"],
        ["--width", "0"],
        ["--learning-rate", "inf"],
        ["--label-smoothing", "1"],
        ["--precision", "fp8"],
        ["--epoch", "3"],
        ["--threads", str(10**12)],
        ["--shift", str(10**9)],
        ["--width", "1e3"],
        ["--epochs", str(10**30)],
        ["--tta-shift", "30"],
    ],
)
def test_bad_options(fails, options):
    line = fails(baseline, *options)
    assert options[0] in line


def test_a_folder_without_data(fails, tmp_path, monkeypatch):
    monkeypatch.setattr("urllib.request.OpenerDirector.open", refuse)
    place = ["--data-dir", tmp_path / "none", "--runs-dir", tmp_path / "runs"]
    assert "--data-dir" in fails(baseline, *place)
    assert not (tmp_path / "runs").exists()


def refuse(*args, **kwargs):
    raise OSError("no network")


def test_a_runs_directory_that_cannot_be_one(fails, tmp_path):
    (tmp_path / "file").write_text("")
    assert "file" in fails(baseline, *TINY, "--runs-dir", tmp_path / "file")


def state_of(folder, name, card):
    return load_weights(folder / name, card, "")[0]


def test_the_pretrained_arm(autoencoder_dir, tmp_path):
    file = autoencoder_dir / "encoder.safetensors"
    pretrained([*TINY, "--encoder", str(file), "--freeze-encoder", "--runs-dir", str(tmp_path)])
    kept, source = read_encoder(file)
    state = state_of(only_run(tmp_path), "model.safetensors", ModelCard)
    changed = {name for name, value in kept.items() if (state[f"encoder.{name}"] != value).any()}
    # Weights stay; statistics are taken anew, since pretraining saw corrupted images.
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    assert changed == {name for name in kept if name.endswith(statistics)}
    setup = read_json(only_run(tmp_path) / "config.json", Config[Setup]).setup
    assert setup.encoder == source
    assert setup.encoder.recipe.corruption == "mask"
    assert only_run(tmp_path) == setup.folder(tmp_path)
    assert setup.name == "pretrained-digits-frozen-epochs2-width0.1-from-epochs2"


def test_by_default_it_starts_from_the_default_pretraining(tmp_path):
    options = ["--dataset", "digits", "--width", "0.05", "--runs-dir", str(tmp_path)]
    pretrain([*options, "--batch-size", "2000"])
    (folder,) = tmp_path.iterdir()
    folder.rename(tmp_path / "autoencoder-digits-width0.05")
    pretrained([*options, "--epochs", "1", "--skip-test"])
    assert list(tmp_path.glob("pretrained-*/seed0/metrics.json"))


def test_a_frozen_random_encoder_has_statistics(tmp_path):
    baseline([*TINY, "--freeze-encoder", "--skip-test", "--runs-dir", str(tmp_path)])
    state = state_of(only_run(tmp_path), "model.safetensors", ModelCard)
    assert (state["encoder.stage1.1.running_var"] != 1).all()
    metrics = json.loads((only_run(tmp_path) / "metrics.json").read_text())
    assert metrics.get("test") is None
    assert not (only_run(tmp_path) / "predictions.npz").exists()


def test_an_auxiliary_loss_trains_the_encoder_and_leaves_a_classifier_alone(tmp_path):
    few = [*TINY, "--label-fraction", "0.1", "--skip-test", "--learning-rate", "1e-4"]
    states = []
    for weight in ("0", "10"):
        baseline([*few, "--auxiliary-loss", weight, "--runs-dir", str(tmp_path / weight)])
        states.append(state_of(only_run(tmp_path / weight), "model.safetensors", ModelCard))
    without, with_it = states
    assert without.keys() == with_it.keys()
    assert not torch.equal(without["encoder.stage1.0.weight"], with_it["encoder.stage1.0.weight"])


def test_an_auxiliary_loss_takes_statistics_of_whole_images_alone():
    model = AlexNet(0.1)
    batches = Batches(
        torch.randint(256, (8, 28, 28), dtype=torch.uint8),
        torch.zeros(8, dtype=torch.long),
        Normalisation(128.0, 64.0),
        batch_size=8,
    )
    auxiliary = AuxiliaryReconstruction(
        model.encoder, batches, ClassifierRecipe(auxiliary_loss=0.5)
    )
    norm = model.encoder.stage1[1]
    before = norm.running_mean.clone()
    (batch,) = auxiliary.epoch(0)
    loss = auxiliary.loss(model.encoder, *batch)
    loss.backward()
    assert torch.equal(norm.running_mean, before)
    assert model.encoder.stage1[0].weight.grad.abs().sum() > 0
    output = auxiliary.decoder(*model.encoder(batch[0]))
    assert loss.item() == pytest.approx(0.5 * reconstruction_loss(output, *batch[1:]).item())
    assert not torch.equal(norm.running_mean, before)


def test_an_auxiliary_loss_needs_an_encoder_that_is_trained(fails, tmp_path):
    options = ["--freeze-encoder", "--auxiliary-loss", "1", "--runs-dir", tmp_path / "runs"]
    assert "leave out --freeze-encoder" in fails(baseline, *TINY, *options)
    assert not (tmp_path / "runs").exists()


def test_the_arms_are_paired(autoencoder_dir, tmp_path, monkeypatch):
    """For one seed: the same batches in the same order, and the same classifier to start with."""
    import training

    seen = []

    def stop(run, task, pictures):
        first = next(iter(task.epoch(0)))
        seen.append((first, task.model.classifier[-1].weight.clone(), task.model.encoder))
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "fit", stop)
    encoder = ["--encoder", str(autoencoder_dir / "encoder.safetensors")]
    for main, options in ((baseline, []), (pretrained, encoder)):
        with pytest.raises(SystemExit):
            main([*TINY, *options, "--runs-dir", str(tmp_path / main.__module__)])
    ((images, labels), head, start), ((images2, labels2), head2, start2) = seen
    assert torch.equal(images, images2)
    assert torch.equal(labels, labels2)
    assert torch.equal(head, head2)
    assert not torch.equal(start.stage1[0].weight, start2.stage1[0].weight)


def test_a_missing_encoder_is_an_error(fails, tmp_path):
    line = fails(pretrained, *TINY, "--encoder", tmp_path / "encoder.safetensors")
    assert "encoder.safetensors' is missing: pretrain_autoencoder.py makes it" in line
    line = fails(pretrained, "--seed", 42, "--dataset", "digits", "--runs-dir", tmp_path)
    command = f"pretrain_autoencoder.py --dataset digits --seed 42 --runs-dir {tmp_path}"
    assert f"seed42/encoder.safetensors' is missing: {command} makes it" in line


def test_a_file_is_no_folder_of_runs(fails, tmp_path):
    (tmp_path / "file").write_text("")
    for runs_dir in (tmp_path / "file", tmp_path / "file" / "mine"):
        assert "file' is a file, not a folder of runs" in fails(baseline, "--runs-dir", runs_dir)


def test_a_classifier_is_no_encoder(fails, baseline_dir):
    line = fails(pretrained, *TINY, "--encoder", baseline_dir / "model.safetensors")
    assert "'classifier'" in line


def test_an_encoder_of_another_width(fails, autoencoder_dir, tmp_path):
    options = [*TINY, "--width", 0.2, "--runs-dir", tmp_path]
    line = fails(pretrained, *options, "--encoder", autoencoder_dir / "encoder.safetensors")
    assert "--width" in line


def test_without_corruption_or_skips(tmp_path):
    options = ["--corruption", "none", "--no-skips", "--image-fraction", "0.1"]
    pretrain([*TINY, *options, "--runs-dir", str(tmp_path)])
    config = read_json(only_run(tmp_path) / "config.json", Config[Setup])
    assert config.setup.name == "autoencoder-digits-none-noskips-images10-epochs2-width0.1"
    assert config.data.train_images == 138  # of 1,375


def test_normalised_patches(tmp_path, autoencoder_dir):
    pretrain([*TINY, "--target", "pixels", "--runs-dir", str(tmp_path)])
    card = load_weights(only_run(tmp_path) / "encoder.safetensors", EncoderCard, "")[1]
    assert card.recipe.target == "pixels"
    losses = [
        json.loads((folder / "metrics.json").read_text())["valid"]["loss"]
        for folder in (only_run(tmp_path), autoencoder_dir)
    ]
    assert losses[0] != losses[1]
    with np.load(autoencoder_dir / "reconstructions.npz") as arrays:
        original, hidden = arrays["original"], np.isnan(arrays["corrupted"])
        # Two epochs on the digits do little, but each patch has its own mean back.
        error = np.square(arrays["output"] - original)[hidden].mean()
    assert error < np.square(original.mean() - original)[hidden].mean()


def test_the_image_alone_can_be_filled_in(tmp_path, autoencoder_dir):
    pretrain([*TINY, "--target", "normalised", "--runs-dir", str(tmp_path)])
    run = only_run(tmp_path)
    assert run.parent.name == "autoencoder-digits-normalised-epochs2-width0.1"
    for folder in (run, autoencoder_dir):
        with np.load(folder / "reconstructions.npz") as arrays:
            assert arrays["output"].shape == (10, 28, 28)
    pretrained([*TINY, "--encoder", str(run / "encoder.safetensors"), "--runs-dir", str(tmp_path)])
    assert list(tmp_path.glob("pretrained-digits-*from-normalised*/seed0/metrics.json"))


def test_plot_without_runs(fails, tmp_path):
    assert "train first" in fails(plot, "--runs-dir", tmp_path / "runs")


def test_patches_match_the_last_stages_grid():
    assert batches.SIZE // batches.PATCH == 7


def shell(command, **environment):
    """What a shell command gives, with this Python as `python`."""
    python = f"{sys.executable} -W error::BytesWarning"
    return subprocess.run(
        ["bash", "-c", command.replace("python ", f"{python} ", 1)],
        capture_output=True,
        cwd=HERE,
        env=os.environ | environment,
    )


def test_closed_streams_fail_nothing(baseline_dir):
    runs_dir = baseline_dir.parent.parent
    command = f"python train_baseline.py {' '.join(TINY)} --runs-dir {runs_dir}"
    for redirection in (">&-", ">&- 2>&-", "2>&-"):
        assert shell(f"{command} {redirection}").returncode == 0


def test_a_full_stream_is_one_line():
    result = shell("python study.py --dry-run --runs-dir nowhere > /dev/full")
    assert result.returncode == 2
    assert b"No space left" in result.stderr
    assert result.stderr.count(b"\n") == 1


def test_any_encoding_takes_any_character(tmp_path):
    """File names hold any character, and so may what is said of them."""
    name = tmp_path / "Mäntel–女.safetensors"
    command = f"python train_pretrained.py --encoder '{name}'"
    result = shell(command, PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert result.returncode == 2
    assert result.stderr.count(b"\n") == 1
    assert b"is missing" in result.stderr


def test_a_line_break_in_a_file_name_breaks_no_line(tmp_path):
    result = shell(f"python train_pretrained.py --encoder $'{tmp_path}/a\\nb\\x1b[2J'")
    assert result.returncode == 2
    assert result.stderr.count(b"\n") == 1
    assert b"\x1b" not in result.stderr
