# PYTHON_ARGCOMPLETE_OK
"""Write a trained classifier as one file that needs none of this project.

Pixels go in, probabilities come out: normalisation, test-time views and temperature are inside,
class names and recipe in the metadata. ONNX runs in browsers, on phones and in any language; pt2 is
the format of torch.export. Each file is held against the model itself before it is written.
"""

from harness.errors import exit_cleanly
from harness.files import shown
from harness.options import Parser
from recipes import DEFAULT_MODEL

EXAMPLES = """\
  python export.py
  python export.py --model runs/pretrained/seed0/model.safetensors --output pretrained.onnx
  python export.py --format pt2"""


def parse_args(argv=None):
    parser = Parser(__doc__, EXAMPLES)
    parser.add_argument(
        "--model",
        default=DEFAULT_MODEL,
        metavar="FILE",
        help="trained weights (default: %(default)s)",
    )
    parser.add_argument(
        "--output", metavar="FILE", help="what is written (default: model.onnx or model.pt2)"
    )
    parser.add_argument("--format", choices=("onnx", "pt2"), default="onnx", help="(default: onnx)")
    return parser.parse_args(argv)


@exit_cleanly
def main(argv=None) -> None:
    args = parse_args(argv)
    # Imported only now, so that --help and a mistyped option are answered at once.
    import torch

    from classification import TrainedModel
    from exports.formats import FORMATS
    from harness.compute import Compute

    # Plain float32 on the CPU: what the file is compared with must not depend on the machine.
    compute = Compute(torch.device("cpu"), "fp32", torch.contiguous_format, compile=False)
    trained = TrainedModel(args.model, compute)
    output = args.output or f"model.{args.format}"
    difference = FORMATS[args.format](trained, output)
    print(
        f"wrote {shown(output)}: uint8 pixels (N, 28, 28) to probabilities "
        f"(N, {len(trained.classes)}), at most {difference:.1g} away from the model's own"
    )


if __name__ == "__main__":
    main()
