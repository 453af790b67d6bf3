# PYTHON_ARGCOMPLETE_OK
"""From results/ to the pictures in img/, README.md, STUDY.md and BENCHMARK.md.

With --runs-dir, your own finished runs: collected into its results/, told on its own pages.
"""

from pathlib import Path
from typing import Annotated

from msgspec import Struct

from harness.errors import UserError, exit_cleanly
from harness.files import shown, write_atomically
from harness.options import Parser, about, add_options, take
from recipes import Files

EXAMPLES = """\
  python plot.py
  python plot.py --check
  python plot.py --runs-dir mine"""


class Pages(Struct, frozen=True, kw_only=True):
    """pages"""

    runs_dir: Annotated[
        str | None, about("collect the finished runs there first (default: none)")
    ] = None
    results_dir: Annotated[
        str | None,
        about("the tables; pages and img/ lie beside them (default: results, or the runs')"),
    ] = None
    check: Annotated[
        bool, about("change nothing; exit with 1 if a page does not match the tables")
    ] = False

    @property
    def results(self) -> Path:
        return Path(self.results_dir) if self.results_dir else Path(self.runs_dir or "", "results")


def parse_args(argv=None):
    parser = Parser(__doc__, EXAMPLES, Pages)
    add_options(parser, Files, "data_dir")
    return parser.parse_args(argv)


@exit_cleanly
def main(argv=None) -> None:
    args = parse_args(argv)
    pages = take(args, Pages)
    # Imported only now, so that --help and a mistyped option are answered at once.
    from report.pages import differs, page_texts

    if pages.runs_dir and not pages.check:
        from report.collect import collect

        collect(pages.runs_dir, pages.results)
    if not pages.results.is_dir():
        raise UserError(f"'{shown(pages.results)}' is missing: train first (make report)")
    texts = page_texts(pages.results)
    if pages.check:
        outdated = [path for path, text in texts.items() if differs(path, text)]
        if outdated:
            raise SystemExit(1)
        print(f"{', '.join(map(shown, texts))} match {shown(pages.results)}")
        return
    draw(pages.results, args.data_dir)
    for path, text in texts.items():
        write_atomically(path, text.encode())
        print(f"written: {shown(path)}")
    print(f"next: read {shown(next(iter(texts)))}; or try python predict.py photo.jpg")


def draw(results_dir: Path, data_dir: str) -> None:
    """Draw every picture whose figures are there, several at a time."""
    from harness.processes import helpers
    from report.measured import read_measured
    from report.plots import draw_report
    from report.speed import draw_benchmark
    from report.study import read_study, study_file
    from report.tables import Tables

    tables, img_dir = Tables(results_dir), results_dir.parent / "img"
    with helpers() as pool:
        parts = []
        if measured := read_measured(results_dir):
            parts.append(pool.submit(draw_benchmark, measured, img_dir))
        if len(tables.results):
            study = read_study(study_file(tables.dataset))
            parts += draw_report(tables, study, img_dir, pool)
            from report.galleries import draw_images  # with torch, which a helper need not wait for

            draw_images(tables, study, img_dir, data_dir)
        for part in parts:
            part.result()


if __name__ == "__main__":
    main()
