import pytest
import torch
from torch.nn import functional as F

from harness.compute import set_up_compute
from models import CHANNELS, AlexNet, Encoder, UNetAutoencoder


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@pytest.mark.parametrize("width", [0.25, 0.5, 1.0])
def test_shapes(width):
    images = torch.randn(2, 1, 28, 28)
    channels = [round(width * c) for c in (64, 192, 384, 256, 256)]
    maps = Encoder(width)(images)
    assert [tuple(m.shape) for m in maps] == [
        (2, channels[0], 28, 28),
        (2, channels[1], 14, 14),
        (2, channels[4], 7, 7),
    ]
    assert AlexNet(width, 7)(images).shape == (2, 7)


def test_width_one_is_alexnets():
    encoder = Encoder(1.0)
    convolutions = [m for m in encoder.modules() if isinstance(m, torch.nn.Conv2d)]
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


def test_skips_reach_the_output():
    """With skips, a pixel that the coarse maps cannot place changes the output just there."""

    def receptive_rows(skips):
        model = UNetAutoencoder(0.1, skips).eval()
        coarse = model.encoder.stage3
        coarse.register_forward_hook(lambda module, inputs, output: torch.zeros_like(output))
        images = torch.randn(1, 1, 28, 28)
        other = images.clone()
        other[0, 0, 14, 14] += 1
        return (model(images) - model(other)).abs().sum().item()

    assert receptive_rows(True) > 0
    assert receptive_rows(False) == 0


def train_a_step(model, images):
    model.train()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    F.cross_entropy(model(images), torch.zeros(len(images), dtype=torch.long)).backward()
    optimizer.step()


@pytest.mark.parametrize("frozen", [True, False])
def test_a_frozen_encoder_keeps_weights_and_statistics(frozen):
    model = AlexNet(0.1)
    if frozen:
        model.freeze_encoder()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    train_a_step(model, torch.randn(8, 1, 28, 28))
    changed = {name for name, value in model.state_dict().items() if (value != before[name]).any()}
    assert changed == {n for n in before if n.startswith("classifier") or not frozen}


def outputs_and_gradients(model, images, compute):
    compute.place(model)
    with compute.autocast():
        output = model(images).float()
    output.square().mean().backward()
    gradients = torch.cat([p.grad.flatten() for p in model.parameters()])
    return output.detach(), gradients


@pytest.mark.parametrize("kind", [AlexNet, UNetAutoencoder])
@pytest.mark.parametrize(
    ("precision", "tolerance", "cosine"),
    # fp32 must catch what pytorch #82060 and #99519 were: wrong values, not rounding. bf16 keeps
    # 8 bits, so single rectifiers switch, but the gradient must point the same way.
    [("fp32", 1e-4, 0.99999), ("bf16", 0.1, 0.9)],
)
def test_fast_paths_agree_with_plain_fp32(kind, precision, tolerance, cosine):
    torch.manual_seed(0)
    plain, fast = kind(0.1), kind(0.1)
    fast.load_state_dict(plain.state_dict())
    images = torch.randn(8, 1, 28, 28)
    output = plain(images)
    output.square().mean().backward()
    gradients = torch.cat([p.grad.flatten() for p in plain.parameters()])
    fast_output, fast_gradients = outputs_and_gradients(
        fast, images, set_up_compute("cpu", precision)
    )
    assert (fast_output - output).norm() < tolerance * output.norm()
    assert F.cosine_similarity(fast_gradients, gradients, dim=0) > cosine
    assert fast_gradients.norm().item() == pytest.approx(gradients.norm().item(), rel=tolerance)
