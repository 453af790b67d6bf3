"""The scripts as a user runs them."""

import json
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import TINY
from PIL import Image

import batches
from options import ENCODER
from plot import main as plot
from predict import main as predict
from pretrain_autoencoder import main as pretrain
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
]


def test_a_reader_that_has_gone_is_met_in_silence():
    shell = f"set -o pipefail; {sys.executable} study.py --dry-run --runs-dir nowhere | true"
    result = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, cwd=HERE)
    assert (result.returncode, result.stderr) == (141, "")


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
    ],
)
def test_bad_options(fails, options):
    line = fails(baseline, *options)
    assert options[0] in line


def test_a_folder_without_data(fails, tmp_path, monkeypatch):
    monkeypatch.setattr("urllib.request.urlopen", refuse)
    line = fails(baseline, "--data-dir", tmp_path / "none", "--run-dir", tmp_path / "run")
    assert "--data-dir" in line
    assert not (tmp_path / "run").exists()


def refuse(url, timeout):
    raise OSError("no network")


def test_a_run_directory_that_cannot_be_one(fails, tmp_path):
    (tmp_path / "file").write_text("")
    assert "file" in fails(baseline, *TINY, "--run-dir", tmp_path / "file" / "run")


def test_the_pretrained_arm(autoencoder_dir, tmp_path):
    encoder = autoencoder_dir / "encoder.pt"
    pretrained([*TINY, "--encoder", str(encoder), "--freeze-encoder", "--run-dir", str(tmp_path)])
    kept = torch.load(encoder)["state"]
    state = torch.load(tmp_path / "model.pt")["state"]
    changed = {name for name, value in kept.items() if (state[f"encoder.{name}"] != value).any()}
    # Weights stay; statistics are taken anew, since pretraining saw corrupted images.
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    assert changed == {name for name in kept if name.endswith(statistics)}
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["options"]["encoder"]["corruption"] == "mask"
    assert len(config["options"]["encoder"]["sha256"]) == 64


def test_a_frozen_random_encoder_has_statistics(tmp_path):
    baseline([*TINY, "--freeze-encoder", "--skip-test", "--run-dir", str(tmp_path)])
    state = torch.load(tmp_path / "model.pt")["state"]
    assert (state["encoder.stage1.1.running_var"] != 1).all()


def test_the_arms_are_paired(autoencoder_dir, tmp_path, monkeypatch):
    """For one seed: the same batches in the same order, and the same classifier to start with."""
    import classification

    seen = []

    def stop(run, model, recipe, compute, *, epoch_of, **others):
        first = next(iter(epoch_of(0)))
        seen.append((first, model.classifier[-1].weight.clone(), model.encoder))
        raise KeyboardInterrupt

    monkeypatch.setattr(classification, "fit", stop)
    encoder = ["--encoder", str(autoencoder_dir / "encoder.pt")]
    for main, options in ((baseline, []), (pretrained, encoder)):
        with pytest.raises(SystemExit):
            main([*TINY, *options, "--run-dir", str(tmp_path / main.__module__)])
    ((images, labels), head, start), ((images2, labels2), head2, start2) = seen
    assert torch.equal(images, images2)
    assert torch.equal(labels, labels2)
    assert torch.equal(head, head2)
    assert not torch.equal(start.stage1[0].weight, start2.stage1[0].weight)


def test_a_missing_encoder_is_an_error(fails, tmp_path):
    line = fails(pretrained, *TINY, "--encoder", tmp_path / "encoder.pt")
    assert "pretrain_autoencoder.py" in line


def test_a_classifier_is_no_encoder(fails, baseline_dir):
    line = fails(pretrained, *TINY, "--encoder", baseline_dir / "model.pt")
    assert "'alexnet'" in line


def test_an_encoder_of_another_width(fails, autoencoder_dir, tmp_path):
    options = [*TINY, "--width", 0.2, "--run-dir", tmp_path]
    line = fails(pretrained, *options, "--encoder", autoencoder_dir / "encoder.pt")
    assert "--width" in line


def test_without_corruption_or_skips(tmp_path):
    options = ["--corruption", "none", "--no-skips", "--train-fraction", "0.1"]
    pretrain([*TINY, *options, "--run-dir", str(tmp_path)])
    assert torch.load(tmp_path / "encoder.pt")["condition"] == "none-noskips-images10"
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["data"]["train_images"] == 138  # of 1,375


def test_normalised_patches(tmp_path, autoencoder_dir):
    assert torch.load(autoencoder_dir / "encoder.pt")["condition"] == ENCODER
    pretrain([*TINY, "--target", "pixels", "--run-dir", str(tmp_path)])
    assert torch.load(tmp_path / "encoder.pt")["condition"] == "mask"
    losses = [
        json.loads((folder / "metrics.json").read_text())["valid"]["loss"]
        for folder in (tmp_path, autoencoder_dir)
    ]
    assert losses[0] != losses[1]
    with np.load(autoencoder_dir / "reconstructions.npz") as arrays:
        original, hidden = arrays["original"], np.isnan(arrays["corrupted"])
        # Two epochs on the digits do little, but each patch has its own mean back.
        error = np.square(arrays["output"] - original)[hidden].mean()
    assert error < np.square(original.mean() - original)[hidden].mean()


def test_predict_reads_dark_things_on_light_ground_too(baseline_dir, tmp_path, capsys):
    from data import load_dataset

    dataset = load_dataset("digits", "nowhere")
    pixels = dataset.test_images[0].numpy()
    paths = [str(tmp_path / name) for name in ("dark.png", "light.png")]
    Image.fromarray(pixels).save(paths[0])
    Image.fromarray(255 - pixels).save(paths[1])
    predict([*paths, "--model", str(baseline_dir / "model.pt"), "--top", "1"])
    dark, light = capsys.readouterr().out.splitlines()
    assert dark.split(": ")[1] == light.split(": ")[1]


@pytest.mark.parametrize("name", ["missing.png", "text.png"])
def test_predict_refuses_what_is_no_image(fails, baseline_dir, tmp_path, name):
    (tmp_path / "text.png").write_text("no image")
    assert name in fails(predict, tmp_path / name, "--model", baseline_dir / "model.pt")


def test_plot_without_runs(fails, tmp_path):
    assert "train first" in fails(plot, "--runs-dir", tmp_path / "runs")


def test_patches_match_the_last_stages_grid():
    assert batches.SIZE // batches.PATCH == 7
