"""From runs/ to the pictures in img/ and the results in README.md."""

import os
from pathlib import Path

from errors import UserError, exit_cleanly
from options import Parser


def parse_args(argv=None):
    parser = Parser(description=__doc__)
    parser.add_argument("--runs-dir", type=Path, default="runs", help="finished runs")
    parser.add_argument("--img-dir", type=Path, default="img", help="for the pictures")
    parser.add_argument("--readme", type=Path, default="README.md", help="has the two markers")
    parser.add_argument("--data-dir", default="data", help="for the example images")
    parser.add_argument(
        "--check", action="store_true", help="change nothing; exit with 1 if README is out of date"
    )
    return parser.parse_args(argv)


@exit_cleanly
def main(argv=None) -> None:
    args = parse_args(argv)
    # Imported only now, so that --help and a mistyped option are answered at once.
    from report import results_section
    from results import BENCHMARK, STUDY, find_runs
    from rundir import read_json, write_atomically
    from speed import draw_speed
    from tables import NEW_README, insert

    if not args.runs_dir.is_dir():
        raise UserError(f"'{args.runs_dir}' is not a folder of runs: train first (make report)")
    runs, study_runs = find_runs(args.runs_dir), find_runs(args.runs_dir / STUDY)
    for folder in sorted(args.runs_dir.glob("**/seed*")):
        if not (folder / "metrics.json").exists():
            print(f"left out, since it is not finished: {folder}")
    benchmark = args.runs_dir / BENCHMARK
    measured = read_json(benchmark) if benchmark.exists() else None
    before = args.readme.read_bytes().decode() if args.readme.exists() else NEW_README
    img_dir = Path(os.path.relpath(args.img_dir, args.readme.parent)).as_posix()
    after = insert(before, results_section(runs, study_runs, measured, img_dir), str(args.readme))
    if args.check:
        return check(before, after, args.readme)
    draw(runs, args.img_dir, args.data_dir)
    draw_study(study_runs, args.img_dir)
    if measured:
        draw_speed(measured, args.img_dir / "benchmark.png")
    write_atomically(args.readme, after.encode())
    print(f"written: {args.readme}")


def check(before: str, after: str, readme: Path) -> None:
    """Exit with 1 and the first line that differs, if README does not match the runs."""
    if before == after:
        print(f"{readme} matches the runs")
        return
    pairs = zip(before.splitlines(), after.splitlines(), strict=False)
    number, line = next(
        ((k, old) for k, (old, new) in enumerate(pairs, 1) if old != new),
        (min(before.count("\n"), after.count("\n")) + 1, "a missing line"),
    )
    print(f"{readme} does not match the runs from line {number} ({line}): run plot.py")
    raise SystemExit(1)


def draw(runs: dict, img_dir: Path, data_dir: str) -> None:
    """Draw every picture whose runs are there, and say which are not."""
    import figures
    from data import load_dataset
    from results import AUTOENCODER, BASELINE, PRETRAINED, Comparison

    img_dir.mkdir(parents=True, exist_ok=True)
    baseline, pretrained, autoencoders = (
        runs.get(name, []) for name in (BASELINE, PRETRAINED, AUTOENCODER)
    )
    for arm, suffix in ((baseline, ""), (pretrained, "_pretrained")):
        if arm:
            figures.draw_history(arm, "train_loss", img_dir / f"train_losses{suffix}.png")
            figures.draw_history(arm, "valid_loss", img_dir / f"valid_losses{suffix}.png")
            figures.draw_history(arm, "valid_accuracy", img_dir / f"valid_acc{suffix}.png")
    comparison = Comparison.of(runs)
    if comparison.pairs:
        figures.draw_arms(comparison, img_dir / "arms_overlaid.png")
        figures.draw_confusion(comparison, img_dir / "confusion.png")
        figures.draw_class_difference(comparison, img_dir / "per_class_difference.png")
    if autoencoders:
        figures.draw_reconstructions(autoencoders[0], img_dir / "reconstructions.png")
    if pretrained:
        try:
            name = pretrained[0].config["data"]["name"]
            dataset = load_dataset(name, data_dir, download=False)
        except UserError as error:
            print(f"example_pretrained.png left as it is: {error}")
        else:
            figures.draw_examples(pretrained[0], dataset, img_dir / "example_pretrained.png")
    for name, found in (
        (BASELINE, baseline),
        (AUTOENCODER, autoencoders),
        (PRETRAINED, pretrained),
    ):
        if not found:
            print(f"some pictures left out, since there is no finished run of {name} (make report)")


def draw_study(runs: dict, img_dir: Path) -> None:
    """Draw what the study's runs show over label fractions and seeds, if there are pairs."""
    import study_figures as figures
    from arms import ARMS, CONTROLLED, PRETRAINED
    from contrasts import contrasts, study_of
    from results import accuracy
    from study_report import class_comparisons

    study = study_of(runs)
    arms = [arm for arm in ARMS if arm.name in figures.SERIES]
    shown = contrasts(runs, study, [pair for pair in CONTROLLED if pair[0] in arms])
    if not shown:
        return
    accuracies = {
        arm.name: {
            fraction: [accuracy(run) for run in runs[arm.condition(fraction)]]
            for fraction in study.epochs
            if arm.condition(fraction) in runs
        }
        for arm in arms
    }
    figures.draw_label_efficiency(
        {arm: found for arm, found in accuracies.items() if found},
        img_dir / "label_efficiency.png",
    )
    differences, intervals = {}, {}
    for contrast in shown:
        arm, fraction = contrast.arm.name, contrast.label_fraction
        values = [accuracy(ours) - accuracy(scratch) for scratch, ours in contrast.pairs]
        differences.setdefault(arm, {})[fraction] = values
        interval = contrast.difference["interval"] if contrast.is_basis else None
        intervals.setdefault(arm, {})[fraction] = interval
    figures.draw_paired_differences(differences, intervals, img_dir / "paired_differences.png")
    ours = [contrast for contrast in shown if contrast.arm == PRETRAINED]
    if ours:
        figures.draw_learning_speed(
            {c.label_fraction: list(zip(*c.pairs, strict=True)) for c in ours},
            img_dir / "learning_speed.png",
        )
    if comparisons := class_comparisons(shown):
        figures.draw_class_differences(comparisons, img_dir / "class_differences.png")


if __name__ == "__main__":
    main()
