# PYTHON_ARGCOMPLETE_OK
"""Write a trained classifier as one file that needs none of this project.

Pixels go in, probabilities come out: normalisation, test-time views and temperature are inside,
class names and recipe in the metadata. ONNX runs in browsers, on phones and in any language; pt2 is
the format of torch.export. Each file is held against the model itself before it is written.
"""

import importlib
import io
import json
import warnings

import msgspec

from harness.errors import UserError, exit_cleanly
from harness.files import shown, write_atomically
from harness.options import Parser
from recipes import DEFAULT_MODEL

EXAMPLES = """\
  python export.py
  python export.py --model runs/pretrained/seed0/model.safetensors --output pretrained.onnx
  python export.py --format pt2"""
SIZE = 28  # pixels a side
OPSET = 18  # of ONNX: what torch.onnx writes without converting; onnxruntime reads it since 2023
INPUT, OUTPUT = "pixels", "probabilities"
TOLERANCE = 1e-4  # between two ways of computing one probability in float32
BATCHES = (1, 7)  # sizes that are tried: the graph must not remember the one it was made with


def parse_args(argv=None):
    parser = Parser(__doc__, EXAMPLES)
    default = {"default": DEFAULT_MODEL, "help": "trained weights (default: %(default)s)"}
    parser.add_argument("--model", metavar="FILE", **default)
    parser.add_argument("--output", metavar="FILE", help="(default: model.onnx or model.pt2)")
    parser.add_argument("--format", choices=[*FORMATS], default="onnx", help="(default: onnx)")
    return parser.parse_args(argv)


@exit_cleanly
def main(argv=None) -> None:
    args = parse_args(argv)
    # Imported only now and below, so that --help and a mistyped option are answered at once.
    import torch

    from classification import TrainedModel
    from harness.compute import Compute

    # Plain float32 on the CPU: what the file is compared with must not depend on the machine.
    compute = Compute(torch.device("cpu"), "fp32", torch.contiguous_format, compile=False)
    trained = TrainedModel(args.model, compute)
    output = args.output or f"model.{args.format}"
    content, exported = FORMATS[args.format](trained)
    difference = largest_difference(trained, exported)
    write_atomically(output, content)
    print(
        f"wrote {shown(output)}: uint8 pixels (N, 28, 28) to probabilities "
        f"(N, {len(trained.classes)}), at most {difference:.1g} away from the model's own"
    )


def network(trained):
    """A `classification.TrainedModel` as one `torch.nn.Module`, views and temperature inside.

    It takes uint8 (N, 28, 28), light on black as in Fashion-MNIST, to float32 (N, classes).
    """
    import torch

    from classification import average, tempered

    class PixelsToProbabilities(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = trained.model

        def forward(self, pixels):
            shares = average(self.model, trained.normalise(pixels), trained.card.recipe)
            return tempered(shares, trained.card.temperature)

    return PixelsToProbabilities().eval()


def example():
    """What both exporters trace a network with, for any number of images."""
    import torch

    images, any_number = torch.zeros(2, SIZE, SIZE).byte(), torch.export.Dim("N", min=1)
    return {"args": (images,), "dynamic_shapes": ({0: any_number},)}


def as_onnx(trained):
    """An ONNX file's bytes, and how onnxruntime computes the probabilities from it.

    Raises:
        UserError: a package is missing.
    """
    for package in ("onnxruntime", "onnx", "onnxscript"):  # the last two are torch.onnx's
        try:
            importlib.import_module(package)
        except ImportError as error:
            raise UserError(
                f"ONNX needs {package}: pip install -r requirements-export.txt (or --format pt2)"
            ) from error
    import torch
    from onnxruntime import InferenceSession

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the exporter's own innards
        names = {"input_names": [INPUT], "output_names": [OUTPUT]}
        options = {"dynamo": True, "opset_version": OPSET, "verbose": False}
        program = torch.onnx.export(network(trained), **example(), **names, **options)
    for node in program.model.graph.all_nodes():
        node.metadata_props.clear()  # where in this machine's files each step was written
    program.model.metadata_props.update(metadata(trained))
    content = program.model_proto.SerializeToString()
    session = InferenceSession(content, providers=["CPUExecutionProvider"])
    return content, lambda x: torch.from_numpy(session.run(None, {INPUT: x.numpy()})[0])


def as_pt2(trained):
    """A file's bytes for `torch.export.load`, and the module that this gives."""
    import torch

    program, buffer = torch.export.export(network(trained), **example()), io.BytesIO()
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)
    torch.export.save(program, buffer, extra_files=metadata(trained))
    content = buffer.getvalue()
    return content, torch.export.load(io.BytesIO(content)).module()


FORMATS = {"onnx": as_onnx, "pt2": as_pt2}


def metadata(trained) -> dict[str, str]:
    """The class names as a JSON list, and the model's whole card: recipe, encoder, calibration."""
    card = msgspec.json.encode(trained.card).decode()
    return {"classes": json.dumps(trained.classes), "card": card}


def largest_difference(trained, exported) -> float:
    """Between the exported classifier's probabilities and the original's, on made-up images.

    Raises:
        UserError: it is more than rounding explains.
    """
    import torch

    rng = torch.Generator().manual_seed(0)
    trials = [torch.randint(256, (n, SIZE, SIZE), generator=rng).byte() for n in BATCHES]
    with torch.inference_mode():
        gaps = [(exported(x) - trained.predict(x)).abs().max().item() for x in trials]
    if not max(gaps) < TOLERANCE:
        raise UserError(
            f"what was exported gives probabilities that are {max(gaps):.2g} away from the "
            "model's: not written; requirements-export.txt names versions that are known to work"
        )
    return max(gaps)


if __name__ == "__main__":
    main()
