"""The three pages: what they say of made-up results, how they are written and checked."""

import re
from pathlib import Path
from shutil import copy, copytree

import made_up
import numpy as np
import pandas as pd
import pytest
from conftest import ROOT, python
from hypothesis import given
from hypothesis import strategies as st
from made_up import LABELS, STUDY, autoencoder, pretrained, scratch, write_tables, wrong

import plot
from report import numbers
from report.compare import compare
from report.markdown import cell
from report.pages import differs, page_texts
from report.tables import Tables

ERRORS = {"scratch": 40, "plain": 40, "pretrained": 20, "scratch-longer": 20}
ERRORS |= {"original-scratch": 20, "original-pretrained": 22}


def pair(folder: Path, seeds=(0,), **options) -> Path:
    """One pair a seed, 30 and 20 of 200 images wrong."""
    runs = [(scratch(seed, **options), wrong(30 + seed % 2)) for seed in seeds]
    runs += [(pretrained(seed, **options), wrong(20 + seed % 2)) for seed in seeds]
    return write_tables(folder / "results", runs)


def readme_of(results: Path) -> str:
    """Its words, whatever lines they are on."""
    return " ".join(page_texts(results)[results.parent / "README.md"].split())


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Path:
    """The results of the whole study, without what lies beside the runs."""
    folder = tmp_path_factory.mktemp("study") / "results"
    runs = made_up.whole_study(ERRORS)
    runs += [(autoencoder(seed), None) for seed in range(10, 20)]
    copy(ROOT / "results" / "analyses.csv", write_tables(folder, runs))
    return folder


@pytest.fixture(scope="module")
def pages(study) -> dict[str, str]:
    return {path.name: text for path, text in page_texts(study).items()}


def test_the_first_page_answers_in_three_sentences_and_a_table(pages):
    text = pages["README.md"]
    assert "is worth 10.00 to 10.00 points" in text  # 20 of 200 images
    row = "| 1 % (550) | 79.75 ± 0.26 | 79.75 ± 0.26: +0.00 (+0.00 to +0.00), equivalent |"
    assert f"{row} 89.75 ± 0.26: +10.00 (+10.00 to +10.00), helps |" in text
    assert text.count(", helps |") == 7


def test_the_original_experiment_is_told_in_its_own_columns(pages):
    section = pages["README.md"].split("## The original experiment")[1].split("## How it")[0]
    told = " ".join(section.split())
    assert "is −1.00 points" in told and "(−1.00 to −1.00): worse." in told
    # Nine in ten of ours are right: 0.9122 is not among what a single run could be.
    assert re.search(r"0\.9122 \| 0\.8975 ± 0\.0026 \| 0\.89\d\d to 0\.90\d\d \| no \|", section)
    assert "| 1 | 50.00 | 50.00 | +0.00 | +0.00 to +0.00 | 1.000 |" in section
    # Three pairs at AlexNet's own width: nothing is said of single runs.
    assert "| from scratch | Mean class accuracy | 0.9122 | 0.8483 ± 0.0029 |\n" in section


def test_every_question_with_runs_has_its_table(pages):
    text = pages["STUDY.md"]
    for question in STUDY.questions[1:]:
        section = text.split(f"### {question.sentence}\n")[1].split("\n### ")[0]
        assert section.count("| Arm | Minus |") == len(question.compare)
    assert re.search(r"\| plain \| from scratch \| 10 % \| 10 \| \+0.00 .* \| equivalent \|", text)


def test_what_was_worked_out_once_is_of_the_published_pairs_and_is_shown(pages):
    tables = Tables(ROOT / "results")
    primary = compare(tables, STUDY, STUDY.question("primary")).set_index("label_fraction")
    assert (tables.analysis("learning", "pairs")["pairs"] == primary["pairs"]).all()
    slope = np.polyfit(np.log10(primary.index), primary["difference"], 1)[0]
    trend = tables.analysis("trend", "slope", "low")
    assert trend["slope"].item() == pytest.approx(slope)
    text = " ".join(pages["STUDY.md"].split())
    assert f"by −{100 * abs(slope):.2f} points with ten times as many labels" in text
    assert "At 1 % the gain is below" not in text
    for heading in ("| From scratch, core minutes |", "| Reached before the first measurement |"):
        assert heading.strip("|") in text


@pytest.mark.parametrize("page", ["README.md", "STUDY.md"])
def test_no_figure_is_missing_silently_and_no_link_leads_nowhere(pages, page):
    assert not re.search(r"\b(nan|None|NaN|NaT)\b", pages[page])
    links = re.findall(r"\]\(([^)#]+)\)", pages[page])
    own = [link for link in links if not link.startswith("http")]
    written = {"README.md", "STUDY.md", "BENCHMARK.md"}
    assert all(link.startswith("img/") or link in written or (ROOT / link).exists() for link in own)


def test_pairs_of_two_machines_are_marked(study, tmp_path):
    folder = copytree(study, tmp_path / "results")
    results = pd.read_csv(study / "results.csv")
    frozen = results["name"] == STUDY.name("frozen", 0.01)
    results.loc[frozen & (results["seed"] < 12), "machine"] = "another"
    results.loc[frozen & (results["seed"] == 12), "precision"] = "bf16"
    results.to_csv(folder / "results.csv", index=False)
    text = page_texts(folder)[tmp_path / "STUDY.md"]
    assert "| pretrained, encoder frozen | from scratch | 1 % | 10 (3 †) | +5.00 |" in text


def test_a_comparison_that_lacks_pairs_waits(tmp_path):
    runs, waits = made_up.whole_study(ERRORS), STUDY.name("plain", 0.1)
    runs = [run for run in runs if run[0].name != waits or run[0].recipe.seed < 13]
    text = readme_of(write_tables(tmp_path / "results", [*runs, (autoencoder(), None)]))
    assert "79.83 ± 0.29: +0.00 (+0.00 to +0.00), 3 of 10 seeds |" in text


def test_an_unfinished_study_is_told_as_ones_own_runs(tmp_path):
    texts = page_texts(pair(tmp_path, range(10, 20)))
    assert texts[tmp_path / "README.md"].startswith("# Your runs\n")
    study = texts[tmp_path / "STUDY.md"]
    assert "## The protocol" not in study
    assert "| pretrained | from scratch | 100 % | 10 | +5.00 |" in study


@pytest.mark.parametrize(("seeds", "says"), [
    ((0,), "From scratch 85.00 %, pretrained 90.00 %: +5.00 points (one seed: no test)"),
    ((3, 5), "+5.00 points (95 % interval +5.00 to +5.00; 2 seeds: too few for a test)"),
    (range(6), "+5.00 points (95 % interval +5.00 to +5.00; 6 seeds: p = 0.031)"),
])  # fmt: skip
def test_own_pairs_are_tested_from_six_seeds_on_and_one_by_its_images(tmp_path, seeds, says):
    text = readme_of(pair(tmp_path, seeds))
    assert says in text
    images = "0 are right only from scratch and 10 only with pretraining"
    assert (images in text) == ("p = 0.002" in text) == (len(seeds) == 1)  # 2 / 2**10


def test_the_digits_have_their_own_classes(tmp_path):
    assert "| 7 | 85.0 | 90.0 | +5.00 |" in readme_of(pair(tmp_path, dataset="digits", width=0.1))


PAIRED = [(scratch(0, epochs=3), wrong(9)), (pretrained(0, epochs=3), wrong(7))]
PAIRED += [(scratch(0), wrong(8)), (pretrained(1), wrong(8)), (autoencoder(), None)]
NEVER_SHIRT = [(scratch(), np.where(LABELS == 6, 0, LABELS)), (pretrained(), LABELS)]


@pytest.mark.parametrize(("runs", "says"), [
    ([(scratch(), wrong(10))], "| `baseline` | 1 | 90.00 | 95.00 |"),
    (PAIRED, "`pretrained-epochs3` beside `baseline-epochs3`"),
    (PAIRED, "| `baseline` | 1 | 90.00 | 96.00 |"),
    (PAIRED, "| `autoencoder` | 1 | – | – |"),
    (NEVER_SHIRT, "| Shirt | 0.0 | 100.0 | +100.00 | – | 100.0 | 0.0 | 100.0 | 0.0 |"),
])  # fmt: skip
def test_own_runs_are_paired_by_their_options(tmp_path, runs, says):
    text = readme_of(write_tables(tmp_path / "results", runs))
    assert says in text
    assert text.count("## ") == 1  # no other pair, or none


def test_the_same_epoch_is_compared_where_all_seeds_measured_it(tmp_path):
    tables = Tables(pair(tmp_path, range(6)))
    history = tables.history.query("name == 'baseline' or epoch == 1 or seed != 3")
    history.loc[history.eval("name == 'pretrained' and epoch == 1"), "valid_accuracy"] += 0.1
    vars(tables)["history"] = history
    found = numbers.same_epoch(tables, "baseline", "pretrained", range(6))
    assert list(found.index) == [1]
    assert found.loc[1, "difference"] == pytest.approx(0.1)
    assert found.loc[1, "corrected_p"] == 2 / 2**6


def test_a_prediction_interval_is_for_one_run():
    found = numbers.prediction_interval(pd.Series([0.9, 0.92]))
    # Student's t of one degree of freedom, 12.706, times 0.01414 and the root of 1.5.
    assert found == pytest.approx((0.91 - 0.22006, 0.91 + 0.22006), abs=1e-4)


def test_baselines_and_probes_are_told_on_the_seeds_that_all_have(study, tmp_path):
    copytree(study, tmp_path / "results")
    seeds = [(seed, 0.88 if seed < 16 else 0.1) for seed in range(10, 20)]
    classical = pd.DataFrame(seeds[:6], columns=["seed", "test_accuracy"])
    classical = classical.assign(name="HOG | SVM", label_fraction=0.1, core_seconds=3)
    classical.to_csv(tmp_path / "results" / "classical.csv")
    found = [("trained", 0, 0.8), ("trained", 1, 0.8), ("random", 0, 0.5), ("random", 1, 0.7)]
    probes = pd.DataFrame(found, columns=["encoder", "seed", "test_accuracy"])
    probes = probes.merge(pd.DataFrame({"probe": ["linear probe", "k-NN"]}), how="cross")
    probes.assign(stage="7x7", label_fraction=0.01).to_csv(tmp_path / "results" / "probes.csv")
    texts = page_texts(tmp_path / "results")
    text = texts[tmp_path / "STUDY.md"]
    assert "| HOG \\| SVM | 10 % | 88.00 ± 0.00 | 79.75 ± 0.27 | 6 | +1.75 |" in text
    above = "by its mean above scratch at 10 % (+8.25, +7.96 to +8.54); pretrained is above it"
    assert above in " ".join(texts[tmp_path / "README.md"].split())
    # The encoder that knows the classes best comes last.
    assert text.index("| 1 % | random | 60.00 ± 14.14 |") < text.index("| 1 % | trained | 80.00")


@given(st.text())
def test_a_cell_stays_a_cell(text):
    shown = cell(text)
    assert "|" not in shown.replace(r"\\", "").replace(r"\|", "")
    assert shown.isprintable() and not set(shown) & set("<>")


@pytest.mark.parametrize("page", ["README.md", "STUDY.md", "BENCHMARK.md"])
def test_a_published_table_is_not_torn(page):
    """A heading row, the row of dashes and what follows stand line by line, or it is no table."""
    lines = ["", *(ROOT / page).read_text(encoding="utf-8").splitlines()]
    dashes = [k for k, line in enumerate(lines) if re.fullmatch(r"\|( ?-+:? ?\|)+", line)]
    assert dashes
    for k in dashes:
        columns = lines[k].count("|")
        assert [lines[row].replace("\\|", "").count("|") for row in (k - 1, k + 1)] == [columns] * 2


def test_the_main_table_comes_from_the_lines_of_pandas_in_readme(monkeypatch, capsys):
    code = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)[1]
    monkeypatch.chdir(ROOT)
    exec(code, {})
    shown = capsys.readouterr().out
    assert re.search(r"0\.001 .*75\.79 .*67\.72", shown)


@pytest.fixture
def plotted(tmp_path, monkeypatch):
    """Write the pages of a pair as plot.py does, but no pictures; plot.py with options there."""
    results = pair(tmp_path)
    monkeypatch.setattr(plot, "draw", lambda *_: None)

    def run(*options):
        plot.main(["--results-dir", str(results), *options])

    run()
    return run


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_check_finds_a_changed_digit(plotted, tmp_path, capsys, newline):
    page = tmp_path / "README.md"
    before = page.read_text()
    page.write_text(before, newline=newline)  # as a checkout may have it
    plotted("--check")
    page.write_text(before.replace("85.00", "85.01", 1), newline=newline)
    with pytest.raises(SystemExit) as exit_:
        plotted("--check")
    assert exit_.value.code == 1
    assert "README.md does not match the tables from line 3" in capsys.readouterr().out
    assert "85.01" in page.read_text()
    plotted()
    assert page.read_text() == before


def test_check_needs_neither_torch_nor_matplotlib(plotted, tmp_path):
    code = "import sys, plot; plot.main(sys.argv[1:]); "
    code += "print({'torch', 'matplotlib', 'sklearn', 'scipy.stats'} & set(sys.modules))"
    shown = python(code, "--check", "--results-dir", tmp_path / "results")
    assert shown.endswith("set()\n")


@pytest.mark.parametrize("before", [b"a\nc\n", b"a\n", "é".encode("latin-1")])
def test_check_finds_pages_that_are_changed_cut_or_not_text(tmp_path, before):
    page = tmp_path / "page.md"
    page.write_bytes(before)
    assert differs(page, "a\nb\n")


def test_a_linked_page_stays_a_link_with_its_mode(plotted, tmp_path):
    page = (tmp_path / "README.md").rename(tmp_path / "target.md")
    page.chmod(0o600)
    page.write_text("old")
    (tmp_path / "README.md").symlink_to(page)
    plotted()
    assert (tmp_path / "README.md").is_symlink()
    assert page.stat().st_mode & 0o777 == 0o600 and "| Shirt |" in page.read_text()


def test_own_runs_are_collected_into_their_folder_first(tmp_path, monkeypatch):
    made_up.write_run(tmp_path, scratch(), wrong(30))
    made_up.write_run(tmp_path, pretrained(), wrong(20))
    monkeypatch.setattr(plot, "draw", lambda *_: None)
    plot.main(["--runs-dir", str(tmp_path)])
    assert "+5.00 points (one seed: no test)" in (tmp_path / "README.md").read_text()
    assert (tmp_path / "results" / "results.csv").exists()


def test_without_results_it_says_what_makes_them(fails, tmp_path):
    (tmp_path / "README.md").write_text("mine")
    assert "make report" in fails(plot.main, "--results-dir", tmp_path / "results")
    assert (tmp_path / "README.md").read_text() == "mine"


def test_damaged_tables_are_named(fails, tmp_path):
    results = pair(tmp_path)
    table = results / "results.csv"
    for line in ("<<<<<<< HEAD", table.read_text().splitlines()[-1]):  # as a merge may leave it
        before = table.read_text()
        table.write_text(f"{before}{line}\n")
        assert "results.csv" in fails(plot.main, "--results-dir", results, "--check")
        table.write_text(before)
    made_up.write_predictions(results, "baseline", (0,), (LABELS[:9],))
    assert "baseline.npz" in fails(plot.main, "--results-dir", results, "--check")
