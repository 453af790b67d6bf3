"""What export.py writes computes what the model computes; and the code in models.md runs."""

import json
import re
import sys
from pathlib import Path

import pytest
import torch
from conftest import ROOT, python

from classification import ModelCard, TrainedModel, new_alexnet
from export import FORMATS, largest_difference, network
from export import main as export
from harness.compute import Compute
from harness.errors import UserError
from harness.weights import save_weights
from recipes import ClassifierRecipe

CPU = Compute(torch.device("cpu"), "fp32", torch.contiguous_format, compile=False)
ENCODER_CODE, ONNX_CODE = re.findall(
    r"```python\n(.*?)```", (ROOT / "models.md").read_text(encoding="utf-8"), re.DOTALL
)
CLASSES = ["T-shirt/top", "Trouser", "Robe du soir «ä»"]
# Random images that fade to the right, so that mirroring matters.
RANDOM = torch.randint(256, (5, 28, 28), generator=torch.Generator().manual_seed(1))
PIXELS = (RANDOM * torch.linspace(1, 0, 28)).to(torch.uint8)


def model_file(path: Path, **options) -> Path:
    """An untrained classifier, whose answers to random images differ."""
    recipe = ClassifierRecipe(width=0.05, **options)
    model = new_alexnet(recipe, len(CLASSES))
    with torch.no_grad():
        model.classifier[-1].weight.mul_(100)
    card = ModelCard(recipe=recipe, classes=CLASSES, mean=60.0, std=80.0, temperature=0.6)
    save_weights(path, model.state_dict(), card)
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> TrainedModel:
    return TrainedModel(model_file(tmp_path_factory.mktemp("model") / "model.safetensors"), CPU)


@pytest.fixture(scope="module")
def onnx_file(trained, tmp_path_factory) -> Path:
    for name in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(name)
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    path.write_bytes(FORMATS["onnx"](trained)[0])
    return path


def test_a_network_whose_images_are_not_mirrored_has_one_view(tmp_path):
    model = TrainedModel(model_file(tmp_path / "model", flip="none"), CPU)
    with torch.inference_mode():
        found = network(model)(PIXELS)
    torch.testing.assert_close(found, model.predict(PIXELS))


def test_onnx_gives_the_models_probabilities(trained, onnx_file):
    import onnxruntime

    session = onnxruntime.InferenceSession(onnx_file)
    for count in (0, 1, 5):
        (found,) = session.run(["probabilities"], {"pixels": PIXELS[:count].numpy()})
        assert found.shape == (count, len(CLASSES))
        if count:
            torch.testing.assert_close(torch.from_numpy(found), trained.predict(PIXELS[:count]))


def test_onnx_says_what_it_is(trained, onnx_file):
    import onnx

    model = onnx.load(onnx_file)
    kept = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(kept["classes"]) == CLASSES
    assert json.loads(kept["card"])["temperature"] == trained.card.temperature
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 18)]
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "N"
    content = onnx_file.read_bytes()
    assert str(ROOT).encode() not in content
    assert b".py" not in content  # where each step was written, in the files of this machine


def test_pt2_gives_the_models_probabilities(trained, tmp_path, capsys):
    source, path = model_file(tmp_path / "model"), tmp_path / "model.pt2"
    export(["--model", str(source), "--format", "pt2", "--output", str(path)])
    assert "to probabilities (N, 3), at most" in capsys.readouterr().out
    extra = {"classes": "", "card": ""}
    network = torch.export.load(path, extra_files=extra).module()
    torch.testing.assert_close(network(PIXELS[:1]), trained.predict(PIXELS[:1]))
    torch.testing.assert_close(network(PIXELS), trained.predict(PIXELS))
    assert json.loads(extra["classes"]) == CLASSES
    assert str(ROOT).encode() not in path.read_bytes()


def test_what_computes_something_else_is_refused(trained):
    assert largest_difference(trained, trained.predict) == 0
    for wrong in (0.01, float("nan")):
        with pytest.raises(UserError, match="away from the model's"):
            largest_difference(trained, lambda images, off=wrong: trained.predict(images) + off)


@pytest.mark.parametrize("package", ["onnx", "onnxscript", "onnxruntime"])
def test_a_missing_package_is_named(fails, tmp_path, monkeypatch, package):
    for name in ("onnx", "onnxscript", "onnxruntime"):
        monkeypatch.setitem(sys.modules, name, None if name == package else torch)
    source = model_file(tmp_path / "model")
    line = fails(export, "--model", source, "--output", tmp_path / "out")
    assert f"ONNX needs {package}: pip install -r requirements-export.txt" in line
    assert not (tmp_path / "out").exists()


def test_the_encoders_code_in_models_md(autoencoder_dir, tmp_path, monkeypatch, capsys):
    place = tmp_path / "results" / "weights"
    place.mkdir(parents=True)
    (place / "autoencoder-seed0.safetensors").symlink_to(autoencoder_dir / "encoder.safetensors")
    monkeypatch.chdir(tmp_path)
    exec(ENCODER_CODE, {})
    assert capsys.readouterr().out == "torch.Size([5, 26, 7, 7])\n"  # 0.1 of 256 maps


def test_the_onnx_code_in_models_md_needs_no_torch(onnx_file):
    code = f"{ONNX_CODE}\nimport sys; assert not {{'torch', 'models'}} & set(sys.modules)"
    lines = python(code, cwd=onnx_file.parent).splitlines()
    assert len(lines) == 5
    assert all(line.startswith(tuple(CLASSES)) for line in lines)
