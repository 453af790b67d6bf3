# PYTHON_ARGCOMPLETE_OK
"""Say what trained models see in pictures: files, folders, patterns, or - for standard input.

One item a picture, on any background. It is cut out and prepared as Fashion-MNIST was made: trimmed
to the item, light on black, 28 x 28. A class is marked unsure ("?") where the item is hard to tell
from its ground, or is not like anything the model was trained on.
"""

import sys
from pathlib import Path

from harness.errors import UserError, exit_cleanly
from harness.files import shown
from harness.options import Parser
from recipes import DEFAULT_MODEL

EXAMPLES = """\
  python predict.py photo.jpg holiday/ '*.png'
  python predict.py photo.jpg --save seen.png
  python predict.py holiday/ --csv --top 1 > holiday.csv
  python predict.py photo.jpg --model runs/baseline/seed0/model.safetensors \\
      --model results/weights/pretrained-seed0.safetensors"""


def parse_args(argv=None):
    parser = Parser(__doc__, EXAMPLES)
    parser.add_argument("pictures", nargs="+", help="files, folders, patterns, or -")
    parser.add_argument(
        "--model",
        action="append",
        metavar="FILE",
        help=f"trained weights; several are shown side by side (default: {DEFAULT_MODEL})",
    )
    top = {"type": int, "choices": range(1, 11), "default": 3, "metavar": "1..10"}
    parser.add_argument("--top", help="classes shown (default: %(default)s)", **top)
    output = parser.add_mutually_exclusive_group()
    output.add_argument("--json", action="store_true", help="print JSON")
    output.add_argument("--csv", action="store_true", help="print CSV, a line a class")
    parser.add_argument(
        "--save", metavar="FILE.png", help="draw pictures, what the models saw, and probabilities"
    )
    args = parser.parse_args(argv)
    if args.save and not args.save.endswith(".png"):
        parser.error("--save takes the name of a .png file")
    args.model = args.model or [DEFAULT_MODEL]
    return args


@exit_cleanly
def main(argv=None) -> None:
    args = parse_args(argv)
    # Imported only now, so that --help and a mistyped option are answered at once.
    from classification import TrainedModel
    from harness.compute import set_up_compute
    from pictures import showing
    from pictures.reading import find_pictures

    files = find_pictures(args.pictures)
    if args.save and Path(args.save).resolve() in {Path(file).resolve() for file in files}:
        raise UserError(f"--save '{shown(args.save)}' is one of the pictures: name another file")
    # Full precision on the CPU: the answer does not depend on the machine.
    compute = set_up_compute(device="cpu", precision="fp32")
    models = [TrainedModel(path, compute) for path in args.model]
    rows = showing.look(files, models, args.top)
    if args.save:
        showing.draw(rows, args.model, args.save)
    write = showing.as_json if args.json else showing.as_csv if args.csv else showing.as_table
    print(write(rows, args.model))
    failed = sum(row.problem is not None for row in rows)
    if failed:
        sys.stdout.flush()
        print(f"{failed} of {len(rows)} pictures could not be classified", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
