import pytest
import torch
from torch.nn import functional as F

from harness.compute import Compute, set_up_compute
from models import CHANNELS, AlexNet, Encoder, UNetAutoencoder

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@pytest.mark.parametrize("width", [0.25, 0.5, 1.0])
def test_shapes(width):
    images = torch.randn(2, 1, 28, 28)
    channels = [round(width * c) for c in (64, 192, 384, 256, 256)]
    maps = Encoder(width)(images)
    shapes = [(2, channels[0], 28, 28), (2, channels[1], 14, 14), (2, channels[4], 7, 7)]
    assert [tuple(m.shape) for m in maps] == shapes
    assert AlexNet(width, 7)(images).shape == (2, 7)


def test_width_one_is_alexnets():
    convolutions = [m for m in Encoder(1.0).modules() if isinstance(m, torch.nn.Conv2d)]
    assert tuple(c.out_channels for c in convolutions) == CHANNELS == (64, 192, 384, 256, 256)
    linears = [m for m in AlexNet(1.0).modules() if isinstance(m, torch.nn.Linear)]
    assert [layer.out_features for layer in linears] == [1024, 1024, 10]  # 2304 * 4096 / 9216


@pytest.mark.parametrize("skips", [True, False])
def test_autoencoder_reconstructs_the_shape_and_shares_the_encoder(skips):
    autoencoder, alexnet = UNetAutoencoder(0.1, skips).eval(), AlexNet(0.1).eval()
    images = torch.randn(3, 1, 28, 28)
    assert autoencoder(images).shape == images.shape
    alexnet.encoder.load_state_dict(autoencoder.encoder.state_dict(), strict=True)
    for ours, theirs in zip(alexnet.encoder(images), autoencoder.encoder(images), strict=True):
        assert torch.equal(ours, theirs)


def test_a_decoder_as_wide_as_the_encoder():
    half, whole = UNetAutoencoder(0.25), UNetAutoencoder(0.25, decoder_width=1.0)
    assert [model.decoder.to_image.in_channels for model in (half, whole)] == [8, 16]
    assert [model.decoder.reduce7[0].out_channels for model in (half, whole)] == [24, 48]
    assert half.encoder.channels == whole.encoder.channels
    assert whole(torch.randn(2, 1, 28, 28)).shape == (2, 1, 28, 28)


@pytest.mark.parametrize("skips", [True, False])
def test_skips_reach_the_output(skips):
    """With skips, a pixel that the coarse maps do not know changes the output all the same."""
    model = UNetAutoencoder(0.1, skips).eval()
    model.encoder.stage3.register_forward_hook(lambda _, inputs, output: torch.zeros_like(output))
    images = torch.randn(1, 1, 28, 28)
    other = images.clone()
    other[0, 0, 14, 14] += 1
    assert torch.equal(model(images), model(other)) != skips


@pytest.mark.parametrize("frozen", [True, False])
def test_a_frozen_encoder_keeps_weights_and_statistics(frozen):
    model = AlexNet(0.1)
    if frozen:
        model.freeze_encoder()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    optimizer = torch.optim.Adam(model.train().parameters(), lr=0.1)
    F.cross_entropy(model(torch.randn(8, 1, 28, 28)), torch.zeros(8, dtype=torch.long)).backward()
    optimizer.step()
    changed = {name for name, value in model.state_dict().items() if (value != before[name]).any()}
    assert changed == {n for n in before if n.startswith("classifier") or not frozen}


def outputs_and_gradients(model, images, compute):
    compute.place(model)
    with compute.autocast():
        output = model(images).float()
    output.square().mean().backward()
    return output.detach(), torch.cat([p.grad.flatten() for p in model.parameters()])


@pytest.mark.parametrize("kind", [AlexNet, UNetAutoencoder])
@pytest.mark.parametrize(
    ("precision", "tolerance", "cosine"),
    # fp32 must catch what pytorch #82060 and #99519 were: wrong values, not rounding. bf16 keeps
    # 8 bits, so single rectifiers switch, but the gradient must point the same way.
    [("fp32", 1e-4, 0.99999), ("bf16", 0.1, 0.9)],
)
def test_fast_paths_agree_with_plain_fp32(kind, precision, tolerance, cosine):
    plain, fast = kind(0.1), kind(0.1)
    fast.load_state_dict(plain.state_dict())
    images, usual = torch.randn(8, 1, 28, 28), Compute(CPU, "fp32", torch.contiguous_format, False)
    output, gradients = outputs_and_gradients(plain, images, usual)
    found, found_gradients = outputs_and_gradients(fast, images, set_up_compute("cpu", precision))
    assert (found - output).norm() < tolerance * output.norm()
    assert F.cosine_similarity(found_gradients, gradients, dim=0) > cosine
    assert found_gradients.norm().item() == pytest.approx(gradients.norm().item(), rel=tolerance)
