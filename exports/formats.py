"""A trained classifier as one graph from pixels to probabilities, as ONNX or for torch.export."""

import importlib
import io
import json
import warnings
from itertools import product

import msgspec
import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.nn import functional as F

from classification import Predictor, TrainedModel, tempered
from data import SIZE
from harness.errors import UserError
from harness.files import write_atomically

OPSET = 18  # of ONNX: what torch.onnx writes without converting; onnxruntime reads it since 2023
INPUT, OUTPUT = "pixels", "probabilities"
ANY_NUMBER = ({0: Dim("N", min=1)},)  # of images
TOLERANCE = 1e-4  # between two ways of computing one probability in float32
BATCHES = (1, 7)  # sizes that are tried: the graph must not remember the one it was made with


class PixelsToProbabilities(nn.Module):
    """`classification.Predictor` as one network: test-time views and temperature inside."""

    def __init__(self, predictor: Predictor):
        super().__init__()
        self.model = predictor.model
        self.normalise = predictor.normalise
        self.shift = predictor.recipe.tta_shift
        self.mirror = predictor.recipe.flip != "none"
        self.temperature = predictor.temperature

    def forward(self, pixels: Tensor) -> Tensor:
        """uint8 (N, 28, 28), light on black as in Fashion-MNIST, to float32 (N, classes)."""
        padded = F.pad(pixels, (self.shift,) * 4) if self.shift else pixels
        corners = product(range(2 * self.shift + 1), repeat=2)
        views = [padded[:, row : row + SIZE, column : column + SIZE] for row, column in corners]
        if self.mirror:
            views += [view.flip(-1) for view in views]
        shares = [self.model(self.normalise(view)).softmax(dim=1) for view in views]
        averaged = torch.stack(shares).mean(dim=0)
        return averaged if self.temperature == 1 else tempered(averaged, self.temperature)


def export_onnx(trained: TrainedModel, path: str) -> float:
    """Write the classifier as ONNX; what differs most when onnxruntime computes the probabilities.

    Raises:
        UserError: a package is missing, or onnxruntime computes something else.
    """
    onnxruntime = needed("onnxruntime")
    for name in ("onnx", "onnxscript"):  # which torch.onnx uses
        needed(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the exporter's own innards
        program = torch.onnx.export(
            traced(trained),
            dynamo=True,
            opset_version=OPSET,
            dynamic_shapes=ANY_NUMBER,
            input_names=[INPUT],
            output_names=[OUTPUT],
            verbose=False,
        )
    for node in program.model.graph.all_nodes():
        node.metadata_props.clear()  # where in this machine's files each step was written
    program.model.metadata_props.update(metadata(trained))
    content = program.model_proto.SerializeToString()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    difference = largest_difference(
        trained, lambda pixels: torch.from_numpy(session.run(None, {INPUT: pixels.numpy()})[0])
    )
    write_atomically(path, content)
    return difference


def export_pt2(trained: TrainedModel, path: str) -> float:
    """Write the classifier for `torch.export.load`; what differs most when that is used.

    Raises:
        UserError: what was exported computes something else.
    """
    program, buffer = traced(trained), io.BytesIO()
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)
    torch.export.save(program, buffer, extra_files=metadata(trained))
    content = buffer.getvalue()
    loaded = torch.export.load(io.BytesIO(content)).module()
    difference = largest_difference(trained, loaded)
    write_atomically(path, content)
    return difference


FORMATS = {"onnx": export_onnx, "pt2": export_pt2}


def traced(trained: TrainedModel) -> ExportedProgram:
    """The graph, for any number of images."""
    example = torch.zeros(2, SIZE, SIZE, dtype=torch.uint8)
    network = PixelsToProbabilities(trained.predict).eval()
    return torch.export.export(network, (example,), dynamic_shapes=ANY_NUMBER)


def metadata(trained: TrainedModel) -> dict[str, str]:
    """The class names as a JSON list, and the model's whole card: recipe, encoder, calibration."""
    card = msgspec.json.encode(trained.card).decode()
    return {"classes": json.dumps(trained.classes), "card": card}


@torch.inference_mode()
def largest_difference(trained: TrainedModel, exported) -> float:
    """Between the exported classifier's probabilities and the original's, on made-up images.

    Raises:
        UserError: it is more than rounding explains.
    """
    rng = torch.Generator().manual_seed(0)
    shapes = [(count, SIZE, SIZE) for count in BATCHES]
    trials = [torch.randint(256, s, dtype=torch.uint8, generator=rng) for s in shapes]
    gaps = [(exported(pixels) - trained.predict(pixels)).abs().max().item() for pixels in trials]
    if not max(gaps) < TOLERANCE:
        raise UserError(
            f"what was exported gives probabilities that are {max(gaps):.2g} away from the "
            "model's: not written; requirements-export.txt names versions that are known to work"
        )
    return max(gaps)


def needed(package: str):
    """The optional package, or one line that says how to get it."""
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise UserError(
            f"ONNX needs {package}: pip install -r requirements-export.txt (or --format pt2)"
        ) from error
