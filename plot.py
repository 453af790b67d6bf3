# PYTHON_ARGCOMPLETE_OK
"""From runs/ to the pictures in img/, README's results, STUDY.md, BENCHMARK.md and results.csv."""

import os
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

from msgspec import Struct

from harness.errors import UserError, exit_cleanly
from harness.files import shown
from harness.options import Parser, about, add_options, take
from recipes import Files

PARTS = ("answer", "experiment", "models")  # of README, each between two markers
NEW_README = "# Results\n\n" + "\n".join(
    f"<!-- {part}:begin -->\n<!-- {part}:end -->\n" for part in PARTS
)
EXAMPLES = """\
  python plot.py
  python plot.py --check
  python plot.py --runs-dir mine --pages-dir mine"""


class Pages(Struct, frozen=True, kw_only=True):
    """pages"""

    pages_dir: Annotated[str, about("folder of the pages and pictures", None)] = "."
    img_dir: Annotated[str, about("the pictures, in that folder", None)] = "img"
    readme: Annotated[str, about("its parts between markers are replaced", None)] = "README.md"
    study_page: Annotated[str, about("written whole", None)] = "STUDY.md"
    benchmark_page: Annotated[str, about("written whole, if measured", None)] = "BENCHMARK.md"
    results: Annotated[str, about("table with a row a run", None)] = "results.csv"
    check: Annotated[
        bool, about("change nothing; exit with 1 if a page does not match the runs", None)
    ] = False

    def path(self, name: str) -> Path:
        """Where a page, or the folder of pictures, lies."""
        return Path(self.pages_dir, getattr(self, name))


def parse_args(argv=None):
    parser = Parser(__doc__, EXAMPLES)
    add_options(parser, Files, "runs_dir", "data_dir")
    add_options(parser, Pages)
    return parser.parse_args(argv)


@exit_cleanly
def main(argv=None) -> None:
    args = parse_args(argv)
    pages, runs_dir = take(args, Pages), Path(args.runs_dir)
    # Imported only now, so that --help and a mistyped option are answered at once.
    from benchmarks.measured import FILE, read_measured
    from report.pages import check, write_page
    from report.runs import find_runs, unfinished

    if not runs_dir.is_dir():
        raise UserError(f"'{shown(runs_dir)}' is not a folder of runs: train first (make report)")
    runs = find_runs(runs_dir)
    for folder in unfinished(runs_dir):
        print(f"left out, without config.json or metrics.json: {shown(folder)}")
    measured = read_measured(runs_dir / FILE)
    if not runs and not measured:
        raise UserError(
            f"'{shown(runs_dir)}' holds no finished run: --runs-dir is the folder above "
            "<name>/seed<k>/"
        )
    texts = page_texts(runs, measured, pages)
    if pages.check:
        outdated = [path for path, text in texts.items() if not check(path, text)]
        if outdated:
            raise SystemExit(1)
        print(f"{', '.join(map(shown, texts))} match the runs")
        return
    draw(runs, measured, pages.path("img_dir"), args.data_dir)
    for path, text in texts.items():
        write_page(path, text)
    readme, study = pages.path("readme"), pages.path("study_page")
    print(f"next: read {shown(readme)}, then {shown(study)}; or try python predict.py photo.jpg")


def page_texts(runs, measured, pages: Pages) -> dict[Path, str]:
    """Each page's path and text. Neither torch nor matplotlib is imported for them."""
    from benchmarks.page import benchmark_page
    from report.markdown import insert
    from report.pages import read_page, with_line_ends_of
    from report.readme import readme_parts
    from report.table import results_csv
    from studies.answer import answer
    from studies.comparisons import study_of
    from studies.page import study_page

    def img_from(page: Path) -> str:
        return quote(Path(os.path.relpath(pages.path("img_dir"), page.parent)).as_posix())

    readme, study, speed = map(pages.path, ("readme", "study_page", "benchmark_page"))
    before = read_page(readme) if readme.exists() else NEW_README
    parts = readme_parts(runs, study_of(runs).seeds, answer(runs), img_from(readme))
    whole = {study: study_page(runs, img_from(study)), pages.path("results"): results_csv(runs)}
    if measured:
        whole[speed] = benchmark_page(measured, img_from(speed))
    return {readme: insert(before, parts, readme)} | {
        path: with_line_ends_of(path, text) for path, text in whole.items()
    }


def draw(runs, measured, img_dir: Path, data_dir: str) -> None:
    """Draw every picture whose runs are there, several at a time."""
    from benchmarks.plots import draw_benchmark
    from harness.processes import helpers
    from report.plots import draw_report
    from studies.comparisons import study_of
    from studies.plots import draw_study

    seeds = study_of(runs).seeds
    with helpers() as pool:
        parts = [
            pool.submit(draw_study, runs, img_dir),
            pool.submit(draw_report, runs, seeds, img_dir),
        ]
        if measured:
            parts.append(pool.submit(draw_benchmark, measured, img_dir))
        from report.galleries import draw_images  # with torch, which a helper need not wait for

        draw_images(runs, seeds, img_dir, data_dir)
        for part in parts:
            part.result()


if __name__ == "__main__":
    main()
