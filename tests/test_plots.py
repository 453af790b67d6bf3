"""The pictures, drawn from tables of made-up runs: which there are, and what they show."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pandas as pd
import pytest
from made_up import DATA, STUDY, autoencoder, pretrained, scratch, tables_of, write_run, wrong
from matplotlib.figure import Figure
from msgspec.structs import replace

from data import load_dataset
from harness.files import write_arrays
from report import galleries, plots
from report.numbers import curves
from report.plots import default_runs, draw_report, original_runs
from report.tables import Tables

CURVES = {
    f"{name}{arm}.png"
    for name in ("train_losses", "valid_losses", "valid_acc")
    for arm in ("", "_pretrained")
}
OF_A_PAIR = {"arms_overlaid.png", "same_epoch.png", "confusion.png"}
OF_BUDGETS = {"label_efficiency.png", "gain.png", "learning_speed.png", "class_differences.png"}


def write_arm(runs_dir, arm, seeds, errors, budget=1.0, **options):
    """Runs of an arm of the study, the first seed's with so many errors, the next one more."""
    for k, seed in enumerate(seeds):
        write_run(runs_dir, STUDY.setup(arm, budget, seed), wrong(errors + k), **options)


def one_pair(runs_dir) -> Tables:
    write_run(runs_dir, scratch(), wrong(30))
    write_run(runs_dir, pretrained(), wrong(20))
    return tables_of(runs_dir)


def drawn(tables, img_dir) -> dict[str, bytes]:
    with ThreadPoolExecutor(1) as pool:
        for each in draw_report(tables, STUDY, img_dir, pool):
            each.result()
    return {path.name: path.read_bytes() for path in img_dir.iterdir()}


@pytest.fixture
def axes_of(monkeypatch):
    """Each picture's axes by its name, once it was drawn; nothing is written."""
    kept = {}

    @contextmanager
    def picture(path, height, rows=1, columns=1, width=0, **options):
        kept[path.name] = axes = Figure().subplots(rows, columns, squeeze=False, **options)
        yield axes

    monkeypatch.setattr(plots, "picture", picture)
    monkeypatch.setattr(galleries, "picture", picture)
    return kept


def lines(axes) -> dict[str, tuple[list, list]]:
    """x and y of the lines that the legend names."""
    return {
        line.get_label(): (list(line.get_xdata()), list(line.get_ydata()))
        for line in axes.lines
        if not line.get_label().startswith("_")
    }


def test_a_single_pair_has_its_pictures_the_same_each_time(tmp_path):
    tables = one_pair(tmp_path)
    first = drawn(tables, tmp_path / "img")
    assert set(first) == CURVES | OF_A_PAIR
    again = tmp_path / "img" / "arms_overlaid.png"
    plots.draw_arms(tables, again, default_runs(tables, STUDY))
    assert again.read_bytes() == first[again.name]


@pytest.mark.parametrize(("setup", "names"), [
    (scratch(), {name for name in CURVES if "pretrained" not in name}),
    (pretrained(), {name for name in CURVES if "pretrained" in name}),
    (autoencoder(), set()),
])  # fmt: skip
def test_an_arm_alone_has_its_curves_and_an_encoder_alone_nothing(tmp_path, setup, names):
    write_run(tmp_path, setup)
    (tmp_path / "img").mkdir()
    assert set(drawn(tables_of(tmp_path), tmp_path / "img")) == names


def test_the_studys_questions_have_theirs(tmp_path):
    for arm in ("scratch", "pretrained", "scratch-longer"):
        write_arm(tmp_path, arm, (10, 11, 12), 20, temperature=0.7)
    write_run(tmp_path, autoencoder(10))
    for arm in ("scratch", "plain", "pretrained-no-skips"):
        write_arm(tmp_path, arm, (10, 11), 20, budget=0.01)
    tables = tables_of(tmp_path)
    minutes = {"scratch": 2, "fine_tuning": 1, "longer": 9, "pretraining": 5}
    costs = {"analysis": "costs", "label_fraction": 1.0, "machine": "some processor"}
    costs = pd.DataFrame(costs | {"figure": minutes.keys(), "value": minutes.values()})
    costs.to_csv(tables.folder / "analyses.csv", index=False)
    others = {"reliability.png", "cost.png", "factorial.png"}
    assert set(drawn(tables, tmp_path / "img")) == CURVES | OF_A_PAIR | OF_BUDGETS | others


def test_curves_are_the_original_experiments_where_it_is_there(tmp_path, axes_of):
    one_pair(tmp_path)
    assert original_runs(tables_of(tmp_path), STUDY) is None
    write_arm(tmp_path, "original-scratch", (10, 11), 20)
    write_arm(tmp_path, "original-pretrained", (11, 12), 20)
    tables = tables_of(tmp_path)
    runs = original_runs(tables, STUDY)
    assert runs.seeds == [11]
    assert runs.names == ("baseline-original-width0.25", "pretrained-original-width0.25")
    plots.draw_curves(tables, tmp_path / "x.png", runs)
    assert "smoothing" not in axes_of["train_losses.png"][0, 0].get_title()


def test_the_pair_is_one_of_other_options_or_the_default_on_the_studys_seeds(tmp_path):
    for setup in (scratch(3), scratch(4, epochs=2), pretrained(4, epochs=2)):
        write_run(tmp_path, setup)
    runs = default_runs(tables_of(tmp_path), STUDY)
    assert (runs.names, runs.seeds) == (("baseline-epochs2", "pretrained-epochs2"), [4])
    for arm in ("scratch", "pretrained"):
        write_arm(tmp_path, arm, (0, 10, 11), 20)
    runs = default_runs(tables_of(tmp_path), STUDY)
    assert (runs.names, runs.seeds) == (("baseline", "pretrained"), [10, 11])


def test_curves_take_the_epochs_that_all_seeds_have(tmp_path):
    write_run(tmp_path, scratch(0), history={1: 0.1, 2: 0.2, 3: 0.3, 4: 0.4})
    write_run(tmp_path, scratch(1), history={2: 0.6, 4: 0.8})
    tables = tables_of(tmp_path)
    found = curves(tables, "baseline", "valid_accuracy", [0, 1])
    assert found.columns.tolist() == [2, 4]
    assert found.to_numpy() == pytest.approx(np.array([[0.2, 0.4], [0.6, 0.8]]))
    # A train loss, here one less the accuracy, is a mean over the epochs since the row before.
    losses = curves(tables, "baseline", "train_loss", [0, 1])
    assert losses.to_numpy() == pytest.approx(np.array([[0.85, 0.65], [0.4, 0.2]]))


def test_both_arms_curves_are_on_one_scale_and_say_what_a_train_loss_has(tmp_path, axes_of):
    write_run(tmp_path, scratch(), history={1: 0.2, 2: 0.9})
    write_run(tmp_path, pretrained(), history={1: 0.5, 2: 0.8})
    tables = tables_of(tmp_path)
    plots.draw_curves(tables, tmp_path / "x.png", default_runs(tables, STUDY))
    both = [axes_of[name][0, 0] for name in ("valid_acc.png", "valid_acc_pretrained.png")]
    assert both[0].get_ylim() == both[1].get_ylim() == pytest.approx((16.5, 93.5))
    assert "label smoothing 0.1" in axes_of["train_losses.png"][0, 0].get_title()
    assert "label smoothing" not in axes_of["valid_losses.png"][0, 0].get_title()


def test_a_single_measured_epoch_has_room_around_it(tmp_path, axes_of):
    write_run(tmp_path, scratch(epochs=1), history={1: 0.8})
    tables = tables_of(tmp_path)
    plots.draw_curves(tables, tmp_path / "x.png", default_runs(tables, STUDY))
    assert axes_of["valid_acc.png"][0, 0].get_ylim() == pytest.approx((76, 84))


def test_the_lead_is_the_pretrained_less_the_other_at_the_same_epoch(tmp_path, axes_of):
    for seed in range(3):
        write_run(tmp_path, scratch(seed), history={1: 0.5, 2: 0.8})
        write_run(tmp_path, pretrained(seed), history={1: 0.52 + seed / 50, 2: 0.8})
    tables = tables_of(tmp_path)
    plots.draw_same_epoch(tables, tmp_path / "same.png", default_runs(tables, STUDY))
    _, first, second, means, *_ = axes_of["same.png"][0, 0].lines
    assert sorted(first.get_ydata()) == pytest.approx([2, 4, 6])
    assert second.get_ydata() == pytest.approx([0, 0, 0])
    assert means.get_ydata() == pytest.approx([4, 0])


def test_all_arms_and_those_without_a_network_stand_over_the_label_budgets(tmp_path, axes_of):
    errors = {"scratch": (100, 40), "plain": (30, 30), "pretrained": (20, 20)}
    for arm, (few, many) in errors.items():
        write_arm(tmp_path, arm, (10,), few, budget=0.01)
        write_arm(tmp_path, arm, (10,), many)
    tables = tables_of(tmp_path)
    facts = {"name": "HOG", "label_fraction": [0.01, 0.01, 1.0], "seed": [10, 0, 10]}
    scores = {"test_accuracy": [0.5, 0.0, 0.7], "core_seconds": 60}
    pd.DataFrame(facts | scores).to_csv(tables.folder / "classical.csv", index=False)
    primary = plots.compare(tables, STUDY, STUDY.question("primary"))
    plots.draw_label_efficiency(tables, tmp_path / "labels.png", STUDY, primary)
    found = lines(axes_of["labels.png"][0, 0])
    assert found["from scratch"] == ([1, 100], pytest.approx([50, 80]))
    assert found["plain autoencoder"] == ([1, 100], pytest.approx([85, 85]))
    assert found["pretrained: masked, HOG"] == ([1, 100], pytest.approx([90, 90]))
    assert found["HOG"] == ([1, 100], pytest.approx([50, 70]))  # seed 0 is none of the study's
    plots.draw_gain(tables, tmp_path / "gain.png", STUDY, primary)
    few, many = axes_of["gain.png"][0]  # a scale for large gains and one for small ones
    assert max(few.lines[1].get_ydata()) == pytest.approx(40)
    assert max(many.lines[1].get_ydata()) == pytest.approx(10)


def test_a_factorials_means_are_over_the_same_seeds(tmp_path, axes_of):
    """Its reference is the primary question's, and has seeds that the others have not got yet."""
    write_arm(tmp_path, "scratch", (10, 11), 40, budget=0.01)
    write_arm(tmp_path, "plain", (11,), 20, budget=0.01)
    tables = tables_of(tmp_path)
    plots.draw_factorial(tables, tmp_path / "factorial.png", STUDY, pd.DataFrame())
    axes = axes_of["factorial.png"][0, 0]
    assert lines(axes)["from scratch"][1] == pytest.approx([79.5, 79.5])
    plain = [line.get_ydata()[0] for line in axes.lines[1:] if len(line.get_ydata()) == 4]
    assert 90 in plain


def test_two_seeds_have_no_interval():
    rows = pd.DataFrame({"sd": [0.1, 0.1], "n": [2, 3]})
    assert plots.half_interval(rows) == pytest.approx([0, 100 * 4.3027 * 0.1 / 3**0.5], rel=1e-4)


def draw_tested(runs_dir, data_dir, *setups_and_errors):
    """Of runs on the tiny data set, that take so many of its 20 test images wrong."""
    dataset = load_dataset("fashion", data_dir, download=False)
    labels = dataset.test_labels.numpy()
    data = replace(DATA, digest=dataset.digest, test_images=len(labels))
    for setup, errors in setups_and_errors:
        predicted = np.where(np.arange(len(labels)) < errors, (labels + 1) % 10, labels)
        write_run(runs_dir, setup, predicted, data=data, labels=labels)
    galleries.draw_images(tables_of(runs_dir), STUDY, runs_dir, data_dir)


def test_pictures_of_test_images(data_dir, tmp_path, axes_of):
    draw_tested(tmp_path, data_dir, (scratch(), 3), (pretrained(), 0))
    assert len(axes_of["example_pretrained.png"][0, 0].texts) == 20
    errors, none = axes_of["confident_errors.png"][:, 0]
    assert errors.texts[0].get_text() == "✗ Trouser 90%\nis T-shirt/top"
    assert len(errors.texts) == 3
    assert "makes no error" in none.get_title()


def test_probabilities_are_shown_where_they_are_kept(data_dir, tmp_path, axes_of):
    draw_tested(tmp_path, data_dir, (scratch(epochs=2), 3), (pretrained(epochs=2), 3))
    first = axes_of["example_pretrained.png"][0, 0].texts[0]
    assert first.get_text() == "✗ Trouser\nis T-shirt/top"
    assert "confident_errors.png" not in axes_of


@pytest.mark.parametrize("where", ["data_dir", "tmp_path"])
def test_without_the_images_the_pictures_stay_as_they_are(request, tmp_path, where, capsys):
    one_pair(tmp_path)
    folder = request.getfixturevalue(where)  # other images, or none
    galleries.draw_images(tables_of(tmp_path), STUDY, tmp_path / "img", folder)
    assert "are left as they are" in capsys.readouterr().out
    assert not (tmp_path / "img").exists()


@pytest.mark.parametrize("hidden", [False, True])
def test_reconstructions_show_what_was_filled_in(tmp_path, axes_of, hidden):
    original = np.full((2, 28, 28), 0.2)
    corrupted, output = original.copy(), np.full((2, 28, 28), 0.8)
    if hidden:
        corrupted[:, :14] = np.nan
    path = tmp_path / "reconstructions.npz"
    arrays = {"original": original, "corrupted": corrupted, "output": output}
    write_arrays(path, **arrays, label=np.arange(2))
    galleries.draw_reconstructions(path, tmp_path / "shown.png")
    last = axes_of["shown.png"][0, 0].images[0].get_array()[-28:, :28, 0]
    assert last[0, 0] == pytest.approx(0.8, abs=0.01)
    assert last[-1, 0] == pytest.approx(0.2 if hidden else 0.8, abs=0.01)
