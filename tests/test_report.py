"""README's results and pictures, from runs that are made up so that the answer is known."""

import json
import shutil

import numpy as np
import pytest

from metrics import classification_report
from plot import main as plot
from results import AUTOENCODER, BASELINE, PRETRAINED
from tables import BEGIN, END, insert

CLASSES = ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"]
CLASSES += ["Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"]
DEFAULTS = {
    "width": 0.5,
    "epochs": 2,
    "flip": "alternate",
    "average_shift": 1,
    "skip_test": False,
}
LABELS = np.repeat(np.arange(10), 20)


def write_run(runs_dir, condition, seed, errors=(), **options):
    """A run whose predictions are right but for `errors`, pairs of image and predicted class."""
    folder = runs_dir / condition / f"seed{seed}"
    folder.mkdir(parents=True)
    predicted = LABELS.copy()
    for image, wrong in errors:
        predicted[image] = wrong
    config = {
        "options": DEFAULTS | options,
        "data": {"name": "fashion", "train_images": 550, "valid_images": 50, "test_images": 200},
        "environment": {
            "processor": "some processor",
            "threads": 2,
            "device": "cpu",
            "precision": "fp32",
            "torch": "2",
        },
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "history.csv").write_text(
        "epoch,train_loss,valid_loss,valid_accuracy,learning_rate,seconds\n"
        "1,0.9,0.8,0.5,0.1,30\n2,0.5,0.4,0.9,0.05,30\n"
    )
    test = {"loss": 0.1, **classification_report(LABELS, predicted, CLASSES)}
    valid = 0.91 if options.get("average_shift", 1) else 0.9
    metrics = {"classes": CLASSES, "valid": {"loss": 0.4, "accuracy": valid}, "test": test}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    confidence = np.full(len(LABELS), 0.9, dtype=np.float32)
    np.savez(folder / "predictions.npz", predicted=predicted, probability=confidence, label=LABELS)
    return folder


def first_images_wrong(count):
    return [(20 * (k % 10) + k // 10, (k + 1) % 10) for k in range(count)]


@pytest.fixture
def report(tmp_path, capsys):
    """Run plot.py on tmp_path; gives README's text."""

    def run(*options):
        folders = ["--runs-dir", tmp_path / "runs", "--img-dir", tmp_path / "img"]
        readme = tmp_path / "README.md"
        arguments = [*folders, "--readme", readme, "--data-dir", tmp_path, *options]
        plot([str(argument) for argument in arguments])
        return readme.read_text()

    return run


def one_pair(runs_dir):
    write_run(runs_dir, BASELINE, 0, errors=first_images_wrong(30))
    write_run(runs_dir, PRETRAINED, 0, errors=first_images_wrong(20))


def test_figures_are_those_of_the_runs(report, tmp_path):
    one_pair(tmp_path / "runs")
    text = report()
    assert "| from scratch | 1 | 0.8500 |" in text  # 170 of 200
    assert "| pretrained | 1 | 0.9000 |" in text
    assert "| Shirt | 0.8500 |" in text  # 17 of its 20
    assert "| Shirt | +5.00 | 0 | 1 | 1.000 |" in text
    assert "| from scratch | 0.9122 | 0.8500 | 0.7170 | 0.8500 |" in text
    assert "| 1.0 |" in text  # minutes


def test_one_pair_is_no_basis_for_a_claim(report, tmp_path):
    one_pair(tmp_path / "runs")
    text = report()
    assert "no basis for a claim" in text
    assert "a difference of +5.00 points" in text
    assert "10 only with pretraining" in text
    assert "p = 0.002" in text  # 2 / 2**10
    assert "**Pretraining" not in text


def test_the_class_difference_and_its_counts_are_of_the_same_runs(report, tmp_path):
    one_pair(tmp_path / "runs")
    for condition in (BASELINE, PRETRAINED):
        write_run(tmp_path / "runs", condition, 1, errors=first_images_wrong(20))
    text = report()
    assert "pretrained less from scratch (seed 0 alone)" in text
    assert "| Shirt | +5.00 | 0 | 1 | 1.000 |" in text  # of both seeds, +2.50


def test_runs_of_one_condition_have_one_recipe(report, tmp_path, capsys):
    one_pair(tmp_path / "runs")
    write_run(tmp_path / "runs", BASELINE, 1, width=0.25)
    with pytest.raises(SystemExit) as exit_:
        report()
    assert exit_.value.code == 2
    assert "seed1' has another width than" in capsys.readouterr().err


def test_runs_without_test_results_and_copies_are_left_out(report, tmp_path):
    one_pair(tmp_path / "runs")
    folder = write_run(tmp_path / "runs", BASELINE, 1)
    (folder / "metrics.json").write_text(json.dumps({"test": None}))
    shutil.copytree(folder, folder.with_name("seed0-old"))
    assert "| from scratch | 1 | 0.8500 |" in report()


def test_learning_speed_counts_epochs_not_measurements(report, tmp_path):
    one_pair(tmp_path / "runs")
    for path in (tmp_path / "runs").glob("*/*/*/history.csv"):
        path.write_text(path.read_text().replace("\n2,", "\n8,").replace("\n1,", "\n4,"))
    assert "is reached after epoch 8 from scratch and after epoch 8 with" in report()


def test_six_pairs_with_a_clear_difference_are_a_claim(report, tmp_path):
    for seed in range(6):
        write_run(tmp_path / "runs", BASELINE, seed, errors=first_images_wrong(30 + seed))
        write_run(tmp_path / "runs", PRETRAINED, seed, errors=first_images_wrong(20))
    text = report()
    assert "**Pretraining helps** over 6 paired seeds" in text
    assert "p = 0.031" in text
    assert "no basis" not in text


def test_six_pairs_without_one_are_none(report, tmp_path):
    for seed in range(6):
        counts = (30, 20) if seed % 2 else (20, 30)
        for condition, count in zip((BASELINE, PRETRAINED), counts, strict=True):
            write_run(tmp_path / "runs", condition, seed, errors=first_images_wrong(count))
    assert "**No difference was found**" in report()


def test_a_class_that_is_never_predicted(report, tmp_path):
    never = [(image, 0) for image in range(120, 140)]
    write_run(tmp_path / "runs", BASELINE, 0, errors=never)
    write_run(tmp_path / "runs", PRETRAINED, 0)
    text = report()
    assert "| Shirt | 0.0000 | – | 0.0000 | 0.0000 |" in text
    assert "–: undefined" in text


def test_the_ablation_names_what_differs(report, tmp_path):
    one_pair(tmp_path / "runs")
    options = {"width": 0.25, "skip_test": True, "average_shift": 0}
    write_run(tmp_path / "runs", "ablation/full", 0, **options)
    write_run(tmp_path / "runs", "ablation/flip", 0, **options, flip="none")
    text = report()
    assert "| flip none (not alternate) | 0.9000 | +0.00 | 60 |" in text  # 30 s on 2 threads
    assert "| width 0.5 (not 0.25) | 0.9000 | +0.00 | 60 |" in text  # the baseline's last epoch
    averaged = "| width 0.5 (not 0.25); average shift 1 (not 0) | 0.9100 | +1.00 | 60 |"
    assert averaged in text  # its metrics


def test_pictures(report, tmp_path):
    one_pair(tmp_path / "runs")
    folder = write_run(tmp_path / "runs", AUTOENCODER, 0)
    images = np.random.default_rng(0).random((3, 28, 28))
    np.savez(folder / "reconstructions.npz", original=images, corrupted=images, output=images)
    report()
    first = {path.name: path.read_bytes() for path in (tmp_path / "img").iterdir()}
    curves = {
        f"{name}{arm}.png"
        for name in ("train_losses", "valid_losses", "valid_acc")
        for arm in ("", "_pretrained")
    }
    others = {"arms_overlaid.png", "confusion.png", "per_class_difference.png"}
    assert set(first) == curves | others | {"reconstructions.png"}
    assert all(content.startswith(b"\x89PNG") for content in first.values())
    report()
    assert first == {path.name: path.read_bytes() for path in (tmp_path / "img").iterdir()}


def test_check_finds_a_changed_digit(report, tmp_path, capsys):
    one_pair(tmp_path / "runs")
    text = report()
    report("--check")
    readme = tmp_path / "README.md"
    readme.write_text(text.replace("0.8500", "0.8501", 1))
    with pytest.raises(SystemExit) as exit_:
        report("--check")
    assert exit_.value.code == 1
    assert "does not match" in capsys.readouterr().out
    assert "0.8501" in readme.read_text()


def test_what_stands_outside_the_markers_stays(report, tmp_path):
    one_pair(tmp_path / "runs")
    readme = tmp_path / "README.md"
    readme.write_text(f"before\r\n{BEGIN}\nold\n{END}\nafter", newline="")
    report()
    content = readme.read_bytes()
    assert content.startswith(f"before\r\n{BEGIN}\n### Conclusion".encode())
    assert content.endswith(f"\n{END}\nafter".encode())
    assert b"old" not in content


@pytest.mark.parametrize("readme", ["", BEGIN, END + BEGIN, BEGIN + BEGIN + END])
def test_a_readme_without_its_markers(readme, fails, tmp_path):
    (tmp_path / "runs").mkdir()
    (tmp_path / "README.md").write_text(readme)
    line = fails(plot, "--runs-dir", tmp_path / "runs", "--readme", tmp_path / "README.md")
    assert BEGIN in line


def test_insert_twice_is_insert_once():
    once = insert(f"a\n{BEGIN}\n{END}\nb", "text", "README")
    assert insert(once, "text", "README") == once


def test_an_unfinished_run_is_named(report, tmp_path, capsys):
    one_pair(tmp_path / "runs")
    (tmp_path / "runs" / BASELINE / "seed1").mkdir()
    report()
    assert "not finished" in capsys.readouterr().out
