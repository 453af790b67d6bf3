"""README's parts, results.csv and README's pictures, from runs that are made up."""

import io
import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from made_up import (
    CLASSES,
    DATA,
    ENVIRONMENT,
    LABELS,
    autoencoder,
    first_images_wrong,
    pretrained,
    scratch,
    write_run,
)
from msgspec.structs import replace
from torch.utils.flop_counter import FlopCounterMode

from autoencoding import new_autoencoder
from harness.errors import UserError
from harness.files import read_json, write_arrays, write_json
from harness.options import take
from metrics import MIN_PAIRS, Metrics, verdicts
from models import AlexNet, UNetAutoencoder
from plot import NEW_README, PARTS, Pages, page_texts, parse_args
from plot import main as plot
from recipes import AutoencoderRecipe
from report.galleries import confidence, draw_galleries, draw_images
from report.markdown import cell, ends, insert, mean_sd, p, points
from report.networks import alexnet_size, autoencoder_size
from report.pages import check, write_page
from report.pairs import Pairs
from report.plots import common_history, draw_report
from report.readme import Answer, readme_parts
from report.runs import accuracy, core_seconds, find_runs, main_job, unfinished
from report.table import results_csv

BEGIN, END = "<!-- answer:begin -->", "<!-- answer:end -->"


@pytest.fixture
def runs_dir(tmp_path):
    return tmp_path / "runs"


@pytest.fixture
def report(tmp_path, runs_dir):
    """Write the pages of tmp_path as plot.py does, but no pictures; gives README's text."""

    def run():
        pages = take(parse_args(where(tmp_path)), Pages)
        for path, text in page_texts(find_runs(runs_dir), None, pages).items():
            write_page(path, text)
        return (tmp_path / "README.md").read_text()

    return run


def where(folder: Path) -> list[str]:
    """The options that keep plot.py in a folder."""
    places = {"--pages-dir": folder, "--runs-dir": folder / "runs", "--data-dir": folder / "data"}
    return [str(part) for option in places.items() for part in option]


def one_pair(runs_dir):
    write_run(runs_dir, scratch(), first_images_wrong(30))
    write_run(runs_dir, pretrained(), first_images_wrong(20))


def six_pairs(runs_dir, scratch_wrong, pretrained_wrong):
    for seed in range(6):
        write_run(runs_dir, scratch(seed), first_images_wrong(scratch_wrong(seed)))
        write_run(runs_dir, pretrained(seed), first_images_wrong(pretrained_wrong(seed)))


def answer_of(runs, small=()) -> Answer:
    """What the study would say of the main job's pairs alone.

    Args:
        small: the intervals of a gain too small to matter.
    """
    pairs = Pairs.of(*(main_job(runs)[kind] for kind in ("baseline", "pretrained")))
    a, b = pairs.values()
    row = SimpleNamespace(
        arm=SimpleNamespace(name="pretrained"),
        control=SimpleNamespace(name="from scratch"),
        budget=1.0,
        labels=550,
        of_two_machines=0,
        epochs=10,
        scratch=a,
        pretrained=b,
        judged=verdicts({1.0: (a, b)})[1.0],
        is_tested=len(pairs) >= MIN_PAIRS,
    )
    other = SimpleNamespace(**vars(row) | {"arm": SimpleNamespace(name="plain"), "budget": 0.1})
    small = [(row, ends) for ends in small]
    beside = {"beside": [[other]], "longer": [(row, 0.9)], "more_passes": 20}
    return Answer(rows=[row], least_p=2 / 2**6, small=small, **beside)


def parts_of(runs_dir) -> dict[str, str]:
    runs = find_runs(runs_dir)
    return readme_parts(runs, (), answer_of(runs), "img")


@pytest.mark.parametrize(
    ("seeds", "says"), [((), "3 paired seeds"), ((1, 2, 3), "2 paired seeds"), ((7,), "3 paired")]
)
def test_the_tables_are_of_the_studys_seeds_where_it_has_any(runs_dir, seeds, says):
    """So the first screen and the original experiment speak of the same runs."""
    for seed, wrong in ((0, 40), (1, 20), (2, 20)):
        write_run(runs_dir, scratch(seed), first_images_wrong(30))
        write_run(runs_dir, pretrained(seed), first_images_wrong(wrong))
    text = readme_parts(find_runs(runs_dir), seeds, None, "img")["experiment"]
    assert says in text
    assert ("+5.00 |" in text) == (2 in seeds)  # of 200 images, 10 more are right


def test_figures_are_those_of_the_runs(report, runs_dir):
    one_pair(runs_dir)
    for seed in (0, 101):
        write_run(runs_dir, autoencoder(seed))
    write_run(runs_dir, autoencoder(100), environment=replace(ENVIRONMENT, threads=20))
    text = report()
    assert "| **mean** | 85.0 | 90.0 | +5.00 |" in text  # 170 and 180 of 200
    assert "| Shirt | 85.0 | 90.0 | +5.00 |" in text  # 17 and 18 of its 20
    assert "| from scratch | 0.9122 | 0.8500 | 0.717 | 0.850 |" in text
    assert "| pretrained | 0.9089 | 0.9000 | 0.767 | 0.900 |" in text
    assert "about 2.0 minutes of one core, an encoder 2.0." in text  # 60 s on 2 threads
    assert "550 training, 50 validation and 200 test images; seeds 0;" in text


def test_figures_over_seeds_are_of_the_pairs(runs_dir):
    for seed, count in enumerate((20, 30, 40)):
        write_run(runs_dir, scratch(seed), first_images_wrong(count))
    for seed in (1, 2, 3):
        write_run(runs_dir, pretrained(seed), first_images_wrong(20))
    text = parts_of(runs_dir)["experiment"]
    assert "2 paired seeds" in text
    assert "| **mean** | 82.5 ± 3.5 | 90.0 ± 0.0 | +7.50 |" in text
    assert "seeds 1, 2;" in text


def test_one_pair_is_no_basis_for_a_claim(runs_dir):
    one_pair(runs_dir)
    parts = parts_of(runs_dir)
    assert "has an undecided effect at 100 % (+5.00) of the labels" in parts["answer"]
    assert "| pretrained | from scratch | 1 | | |\n| plain |" in parts["answer"]  # not tested
    assert "Too few paired seeds for a verdict yet: 100 %." in parts["answer"]
    assert "| 100 % (550) | 10 | 85.00 | 90.00 | +5.00 (–) | – | 1 | undecided |" in parts["answer"]
    experiment = parts["experiment"]
    assert "Fewer than 6 paired seeds are no basis for a claim" in experiment
    assert "0 are right only\nfrom scratch and 10 only with pretraining" in experiment
    assert "p = 0.002" in experiment  # 2 / 2**10


def test_mcnemars_counts_are_of_the_seed_that_is_named(runs_dir):
    for seed in (3, 4):
        write_run(runs_dir, scratch(seed), first_images_wrong(30 - 10 * (seed == 4)))
        write_run(runs_dir, pretrained(seed), first_images_wrong(20))
    text = parts_of(runs_dir)["experiment"]
    assert "Of seed 3's test images, 0 are right only\nfrom scratch and 10 only with" in text


def test_six_pairs_with_a_clear_difference_are_a_claim(runs_dir):
    six_pairs(runs_dir, lambda seed: 30 + seed, lambda seed: 20)
    parts = parts_of(runs_dir)
    assert "**Pretraining by predicting hidden patches and" in parts["answer"]
    assert "(HOG) helps at 100 % (+6.25) of the labels (in points" in parts["answer"]
    assert "| 0.031 | 6 | helps |" in parts["answer"]  # 2 / 2**6
    assert "over other test images" not in parts["answer"]
    assert "better use" not in parts["answer"]
    assert "| Arm | Minus | Seeds | 10 % | 100 % |" in parts["answer"]
    assert "| pretrained | from scratch | 6 | | **+6.25** |\n" in parts["answer"]
    assert "| plain | from scratch | 6 | **+6.25** | |\n" in parts["answer"]
    assert "no basis" not in "".join(parts.values())
    six_pairs(runs_dir.with_name("harm"), lambda seed: 20, lambda seed: 30 + seed)
    harm = parts_of(runs_dir.with_name("harm"))["answer"]
    assert "(HOG) harms at 100 % (−6.25)" in harm
    assert "from scratch are estimated to take 0.9 (100 %) times as long as pretraining" in harm
    assert "So at 100 % they are the better use of the time for a single network." in harm


def test_six_pairs_without_one_are_none(runs_dir):
    six_pairs(runs_dir, lambda seed: (20, 30)[seed % 2], lambda seed: (30, 20)[seed % 2])
    parts = parts_of(runs_dir)
    assert "has an undecided effect at 100 % (+0.00)" in parts["answer"]
    assert "after Holm's correction (margin: 0.25 points): undecided: all." in parts["experiment"]


def test_a_small_gain_is_told_with_its_interval_over_seeds_and_images(runs_dir):
    six_pairs(runs_dir, lambda seed: 30 + seed, lambda seed: 20)
    runs = find_runs(runs_dir)
    answer = answer_of(runs, small=[(-0.00001, 0.004)])
    text = readme_parts(runs, (), answer, "img")["answer"]
    assert (
        "at 100 %: over other test images as well, the 95 % interval is −0.00 to +0.40.\n" in text
    )


def test_equal_arms_are_equivalent(runs_dir):
    six_pairs(runs_dir, lambda seed: 20, lambda seed: 20)
    text = parts_of(runs_dir)["answer"]
    assert "(HOG) makes less than 0.25 points of difference at 100 % (+0.00)" in text
    assert "| plain | from scratch | 6 | ≈ +0.00 | |" in text


def test_classes_have_verdicts_of_their_own(runs_dir):
    shirts = [(120 + k, 0) for k in range(8)]  # 8 of the 20 taken for T-shirts
    for seed in range(10):
        write_run(runs_dir, scratch(seed), [*shirts, (0, 1 + seed % 2)])
        write_run(runs_dir, pretrained(seed), [(0, 1 + seed % 2)])
    text = parts_of(runs_dir)["experiment"]
    others = [name for name in CLASSES if name != "Shirt"]
    assert f"helps: Shirt; equivalent within the margin: {', '.join(others)}." in text


def test_a_class_that_is_never_predicted(report, runs_dir):
    never = [(image, 0) for image in range(120, 140)]
    write_run(runs_dir, scratch(), never)
    write_run(runs_dir, pretrained())
    text = report()
    assert "| Shirt | 0.0 | 100.0 | +100.00 | – | 100.0 | 0.0 | 100.0 | 0.0 | 100.0 |" in text
    assert "–: undefined" in text


def test_without_pairs_it_says_what_makes_them(report, runs_dir):
    write_run(runs_dir, scratch())
    text = report()
    assert text.count("No finished pair of runs yet: `make report` makes them.") == 2


def test_learning_speed_counts_epochs_not_measurements(runs_dir):
    for setup in (scratch(), pretrained()):
        write_run(runs_dir, setup, history={4: 0.5, 8: 0.9})
    text = parts_of(runs_dir)["experiment"]
    assert "is reached after 7.9 epochs from scratch and 7.9 pretrained" in text  # 0.891


def test_the_networks_sizes_are_those_of_the_networks():
    for width in (0.1, 0.25):
        models = {
            AlexNet(width): alexnet_size(width),
            AlexNet(width, 7): alexnet_size(width, 7),
            new_autoencoder(AutoencoderRecipe(width=width)): autoencoder_size(width),
            UNetAutoencoder(width, skips=False): autoencoder_size(width, skips=False, outputs=1),
        }
        for model, size in models.items():
            counter = FlopCounterMode(display=False)
            with torch.no_grad(), counter:
                model.eval()(torch.zeros(1, 1, 28, 28))
            assert size.parameters == sum(weight.numel() for weight in model.parameters())
            assert size.multiply_adds == counter.get_total_flops() / 2


# ------------------------------------------------------------------ finished runs


def test_runs_are_found_by_what_they_were_told(runs_dir):
    for seed in (2, 10, 0):
        write_run(runs_dir, scratch(seed, label_fraction=0.01))
    write_run(runs_dir, autoencoder())
    (runs_dir / "notes" / "seed0").mkdir(parents=True)
    (runs_dir / "notes" / "seed0" / "metrics.json").write_text("{}")
    runs = find_runs(runs_dir)
    assert {name: [run.seed for run in found] for name, found in runs.items()} == {
        "autoencoder": [0],
        "baseline-labels1": [0, 2, 10],
    }
    assert core_seconds(runs["autoencoder"][0]) == 120  # 60 s on 2 threads


@pytest.mark.parametrize("elsewhere", ["baseline/seed7", "baseline/seed00", "baseline-copy/seed0"])
def test_a_run_in_a_folder_that_is_not_its_own_is_named(runs_dir, fails, elsewhere):
    one_pair(runs_dir)
    (runs_dir / elsewhere).parent.mkdir(exist_ok=True)
    shutil.copytree(runs_dir / "baseline" / "seed0", runs_dir / elsewhere)
    line = fails(plot, *where(runs_dir.parent))
    assert elsewhere in line
    assert "belongs in" in line


def test_runs_of_one_name_are_of_one_data_set(runs_dir, fails):
    one_pair(runs_dir)
    write_run(runs_dir, scratch(1), data=replace(DATA, digest="e" * 64))
    line = fails(plot, *where(runs_dir.parent))
    assert "baseline/seed1" in line
    assert "other images" in line


def test_pairs_are_of_one_data_set(runs_dir):
    write_run(runs_dir, scratch())
    write_run(runs_dir, pretrained(), data=replace(DATA, digest="e" * 64))
    runs = find_runs(runs_dir)
    with pytest.raises(UserError, match="different images"):
        Pairs.of(runs["baseline"], runs["pretrained"])


def test_runs_of_one_name_have_one_recipe(runs_dir):
    # Names have ten digits.
    for seed, rate in enumerate((0.004, 0.004 + 1e-16)):
        write_run(runs_dir, scratch(seed, learning_rate=rate, batch_size=64))
    for seed in (0, 1):
        write_run(runs_dir, scratch(seed, validations=5 + seed))  # changes no result
    assert len(find_runs(runs_dir)["baseline"]) == 2
    write_run(runs_dir, scratch(2, width=0.5))
    write_run(runs_dir, scratch(3, width=0.5 + 1e-12))
    with pytest.raises(UserError, match="--width is"):
        find_runs(runs_dir)


def test_an_unfinished_run_is_named(report, runs_dir, tmp_path, capsys):
    one_pair(runs_dir)
    cut, damaged = (write_run(runs_dir, scratch(seed)) for seed in (1, 2))
    (cut / "metrics.json").unlink()
    (damaged / "config.json").unlink()
    report()
    plot([*where(tmp_path), "--check"])
    assert f"left out, without config.json or metrics.json: {cut}" in capsys.readouterr().out
    assert unfinished(runs_dir) == [cut, damaged]


def test_a_folder_without_runs_leaves_the_pages_alone(fails, runs_dir, tmp_path):
    one_pair(runs_dir)
    (tmp_path / "README.md").write_text("mine")
    line = fails(plot, *where(tmp_path), "--runs-dir", runs_dir / scratch().name)
    assert "holds no finished run" in line
    assert (tmp_path / "README.md").read_text() == "mine"


@pytest.mark.parametrize("setup", [scratch(), autoencoder(0)])
def test_validation_accuracy_is_a_classifiers_alone(runs_dir, setup):
    path = write_run(runs_dir, setup) / "metrics.json"
    metrics = json.loads(path.read_text())
    metrics["valid"]["accuracy"] = None if setup.kind == "baseline" else 0.5
    path.write_text(json.dumps(metrics))
    ((run,),) = find_runs(runs_dir).values()
    with pytest.raises(UserError, match="validation accuracy, unlike what"):
        print(run.metrics)


def test_calibrated_probabilities_are_shown_where_there_are_any(runs_dir):
    write_run(runs_dir, scratch(0))
    write_run(runs_dir, scratch(1), temperature=0.8)
    plain, calibrated = find_runs(runs_dir)["baseline"]
    assert confidence(plain)[0] == np.float32(0.9)
    assert confidence(calibrated)[0] == np.float32(0.95)


def damage_history(folder):
    (folder / "history.csv").write_text("epoch,train_loss\n1,2\n")


def damage_predictions(folder):
    write_arrays(folder / "predictions.npz", predicted=LABELS[:9], probability=LABELS, label=LABELS)


def foreign_class(folder):
    write_arrays(
        folder / "predictions.npz", predicted=LABELS + 1, probability=LABELS * 0.1, label=LABELS
    )


def no_test(folder):
    metrics = read_json(folder / "metrics.json", Metrics)
    write_json(folder / "metrics.json", replace(metrics, test=None))


@pytest.mark.parametrize("damage", [damage_history, damage_predictions, foreign_class, no_test])
def test_a_damaged_run_is_named(runs_dir, fails, damage):
    one_pair(runs_dir)
    damage(runs_dir / "baseline" / "seed0")
    assert "baseline/seed0" in fails(plot, *where(runs_dir.parent))


# ------------------------------------------------------------------ Markdown and pages


def test_figures_are_spelled():
    assert [points(x) for x in (0.01575, -0.0001, -0.00001)] == ["+1.57", "−0.01", "+0.00"]
    assert [p(x) for x in (0.0004, 0.001, 0.5)] == ["<0.001", "0.001", "0.500"]
    assert ends((-0.00001, 0.00001)) == "−0.00 to +0.00"  # 0 lies within
    assert mean_sd([0.5]) == "0.5000"
    assert mean_sd([0.5, 0.7], 1, 100) == "60.0 ± 14.1"
    assert mean_sd([0.5, None]) == "–"


@given(st.text())
def test_a_cell_stays_a_cell(text):
    shown = cell(text)
    unescaped = shown.replace(r"\\", "").replace(r"\|", "")
    assert "|" not in unescaped
    assert not set(shown) & set("<>\n\r\x1b\u2028")
    assert shown.isprintable()


def test_class_names_are_text(report, runs_dir):
    names = [f"a|b<!-- {PARTS[0]}:end -->\n{k} $x_" for k in range(10)]
    for setup in (scratch(), pretrained()):
        write_run(runs_dir, setup, classes=names)
    text = report()
    assert "| a\\|b&lt;!-- answer:end --&gt;\\\\n3 $x\\_ | 100.0 |" in text
    assert report() == text


def test_check_finds_a_changed_digit(report, runs_dir, tmp_path, capsys):
    one_pair(runs_dir)
    text = report()
    plot([*where(tmp_path), "--check"])
    for name, digit, other in (("README.md", "0.8500", "0.8501"), ("results.csv", "0.85", "0.86")):
        page = tmp_path / name
        before = page.read_text()
        page.write_text(before.replace(digit, other, 1))
        with pytest.raises(SystemExit) as exit_:
            plot([*where(tmp_path), "--check"])
        assert exit_.value.code == 1
        assert f"{name} does not match" in capsys.readouterr().out
        assert other in page.read_text()
        page.write_text(before)
    assert report() == text


def test_check_needs_neither_torch_nor_matplotlib(report, runs_dir, tmp_path):
    one_pair(runs_dir)
    report()
    code = (
        "import sys, plot; plot.main(sys.argv[1:]); "
        "print({'torch', 'matplotlib', 'pandas', 'sklearn'} & set(sys.modules))"
    )
    root = Path(__file__).parents[1]
    command = [sys.executable, "-c", code, *where(tmp_path), "--check"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.endswith("match the runs\nset()\n")


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_a_checkout_keeps_its_line_ends(report, runs_dir, tmp_path, newline):
    one_pair(runs_dir)
    (tmp_path / "README.md").write_text(NEW_README, newline=newline)
    report()
    for page in ("README.md", "STUDY.md", "results.csv"):
        path = tmp_path / page
        path.write_text(path.read_text(), newline=newline)
    before = (tmp_path / "README.md").read_bytes()
    plot([*where(tmp_path), "--check"])
    report()
    assert (tmp_path / "README.md").read_bytes() == before
    assert before.count(b"\n") == before.count(newline.encode())


def test_what_stands_outside_the_markers_stays(report, runs_dir, tmp_path):
    one_pair(runs_dir)
    readme = tmp_path / "README.md"
    marked = [f"<!-- {part}:begin -->\nold\n<!-- {part}:end -->" for part in PARTS]
    readme.write_text("before\r\n" + "\nbetween\r\n".join(marked) + "\nafter", newline="")
    report()
    content = readme.read_bytes()
    assert content.startswith(f"before\r\n{BEGIN}\n**".encode())
    assert content.endswith(b"\n<!-- models:end -->\nafter")
    assert content.count(b"\nbetween\r\n") == 2
    assert b"old" not in content


def test_a_linked_readme_stays_a_link_with_its_mode(report, runs_dir, tmp_path):
    one_pair(runs_dir)
    target = tmp_path / "target.md"
    target.write_text(NEW_README)
    target.chmod(0o600)
    (tmp_path / "README.md").symlink_to(target)
    report()
    assert (tmp_path / "README.md").is_symlink()
    assert target.stat().st_mode & 0o777 == 0o600
    assert "| Shirt |" in target.read_text()


@pytest.mark.parametrize("readme", ["", BEGIN, END + BEGIN, BEGIN + BEGIN + END])
def test_a_readme_without_its_markers(readme, fails, runs_dir, tmp_path):
    one_pair(runs_dir)
    (tmp_path / "README.md").write_text(readme)
    assert BEGIN in fails(plot, *where(tmp_path))


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_a_readme_in_another_encoding(encoding, fails, runs_dir, tmp_path):
    one_pair(runs_dir)
    (tmp_path / "README.md").write_bytes("é".encode(encoding))
    assert "UTF-8" in fails(plot, *where(tmp_path))


def test_without_a_folder_of_runs(fails, tmp_path):
    assert "make report" in fails(plot, *where(tmp_path))


def test_insert_twice_is_insert_once():
    once = insert(f"a\n{BEGIN}\n{END}\nb", {"answer": "text\nmore"}, "README")
    assert once == f"a\n{BEGIN}\ntext\nmore\n{END}\nb"
    assert insert(once, {"answer": "text\nmore"}, "README") == once


def test_check_names_the_first_line_that_differs(tmp_path, capsys):
    page = tmp_path / "page.md"
    page.write_text("a\nb\n")
    assert check(page, "a\nb\n")
    for text, line in (("a\nc\n", "line 2 ('b')"), ("a\nb\nc\n", "line 3 (a missing line)")):
        assert not check(page, text)
        assert line in capsys.readouterr().out


# ------------------------------------------------------------------ results.csv and pictures


def test_results_are_a_row_a_run_and_a_column_a_fact(runs_dir):
    one_pair(runs_dir)
    write_run(runs_dir, autoencoder(3))
    write_run(runs_dir, scratch(skip_test=True))
    table = pd.read_csv(io.StringIO(results_csv(find_runs(runs_dir)))).set_index("name")
    assert list(table.index) == ["autoencoder", "baseline", "baseline-notest", "pretrained"]
    assert list(table["seed"]) == [3, 0, 0, 0]
    assert table.loc["pretrained", "test_accuracy"] == 0.9
    assert table.loc["pretrained", "test_accuracy_Shirt"] == 0.9
    assert table.loc["pretrained", "encoder_corruption"] == "mask"
    assert table.loc["baseline", "core_seconds"] == 120
    assert np.isnan(table.loc["baseline-notest", "test_accuracy"])
    assert table.loc["baseline-notest", "valid_accuracy"] == 0.9


def draw_all(runs, img_dir, data_dir):
    draw_report(runs, (), img_dir)
    draw_images(runs, (), img_dir, data_dir)


def test_pictures(runs_dir, tmp_path):
    # What a class is called is shown as it is, also where it looks like mathematics.
    for setup, wrong in ((scratch(), 30), (pretrained(), 20)):
        write_run(runs_dir, setup, first_images_wrong(wrong), classes=[*CLASSES[:9], "$\\a_\n"])
    write_run(runs_dir, autoencoder())
    draw_all(find_runs(runs_dir), tmp_path / "img", tmp_path)
    first = {path.name: path.read_bytes() for path in (tmp_path / "img").iterdir()}
    curves = {
        f"{name}{arm}.png"
        for name in ("train_losses", "valid_losses", "valid_acc")
        for arm in ("", "_pretrained")
    }
    classes = {"confusion.png", "per_class_difference.png", "per_class_scores.png"}
    others = {"arms_overlaid.png", "confused_pairs.png", "reconstructions.png"}
    assert set(first) == curves | classes | others  # and none of images, which are not there
    assert all(content.startswith(b"\x89PNG") for content in first.values())
    draw_all(find_runs(runs_dir), tmp_path / "img", tmp_path)
    assert first == {path.name: path.read_bytes() for path in (tmp_path / "img").iterdir()}


def test_calibration_is_told_before_and_after_the_temperature(runs_dir, tmp_path):
    """180 and 190 of 200 right: with 0.9 and then 0.95 each, the one is 0 and 5 points off."""
    for setup, wrong in ((scratch(), 20), (pretrained(), 10)):
        write_run(runs_dir, setup, first_images_wrong(wrong), temperature=0.7)
    runs = find_runs(runs_dir)
    text = readme_parts(runs, (), None, "img")["experiment"]
    assert "from 0.0 to 5.0 % (from scratch) and from 5.0 to 0.0 % (pretrained)" in text
    assert "img/reliability.png" in text
    draw_all(runs, tmp_path / "img", tmp_path)
    assert (tmp_path / "img" / "reliability.png").exists()


def test_pictures_of_images(data_dir, runs_dir, tmp_path, capsys):
    from data import load_dataset

    dataset = load_dataset("fashion", data_dir, download=False)
    data = replace(DATA, digest=dataset.digest, test_images=len(dataset.test_labels))
    for setup in (scratch(), pretrained()):
        folder = write_run(runs_dir, setup, first_images_wrong(30), data=data)
        labels = dataset.test_labels.numpy()
        predicted = np.where(np.arange(len(labels)) < 3, (labels + 1) % 10, labels)
        confidence = np.full(len(labels), 0.9, np.float32)
        write_arrays(
            folder / "predictions.npz", predicted=predicted, probability=confidence, label=labels
        )
    runs = find_runs(runs_dir)
    draw_galleries(Pairs.of(runs["baseline"], runs["pretrained"]), tmp_path / "img", data_dir)
    names = {path.name for path in (tmp_path / "img").iterdir()}
    assert names == {"example_pretrained.png", "confident_errors.png"}
    # An arm without an error has none to show.
    arrays = {"predicted": labels, "probability": confidence, "label": labels}
    write_arrays(folder / "predictions.npz", **arrays)
    runs = find_runs(runs_dir)
    draw_galleries(Pairs.of(runs["baseline"], runs["pretrained"]), tmp_path / "right", data_dir)
    assert (tmp_path / "right" / "confident_errors.png").exists()
    write_run(tmp_path / "others", scratch())
    write_run(tmp_path / "others", pretrained())
    runs = find_runs(tmp_path / "others")
    draw_galleries(Pairs.of(runs["baseline"], runs["pretrained"]), tmp_path / "none", data_dir)
    assert "not those that the runs were trained on" in capsys.readouterr().out
    assert not (tmp_path / "none").exists()


def test_curves_take_the_epochs_that_all_seeds_have(runs_dir):
    write_run(runs_dir, scratch(0), history={1: 0.1, 2: 0.2, 3: 0.3, 4: 0.4})
    write_run(runs_dir, scratch(1), history={2: 0.6, 4: 0.8})
    found = find_runs(runs_dir)["baseline"]
    epochs, values = common_history(found, "valid_accuracy")
    assert epochs == [2, 4]
    assert values.tolist() == [[0.2, 0.4], [0.6, 0.8]]
    # A train loss, here one less the accuracy, is a mean over the epochs since the row before.
    losses = common_history(found, "train_loss")[1]
    assert losses == pytest.approx(np.array([[0.85, 0.65], [0.4, 0.2]]))


def test_a_difference_is_treated_less_control(runs_dir):
    one_pair(runs_dir)
    runs = find_runs(runs_dir)
    pairs = Pairs.of(runs["baseline"], runs["pretrained"])
    assert pairs.difference().mean == pytest.approx(0.05)
    assert pairs.values(accuracy) == ([0.85], [0.9])
