"""How large the networks are, worked out from their layers: pages are made without torch.

A test holds this against the networks themselves (models.py).
"""

from typing import NamedTuple

CHANNELS = (64, 192, 384, 256, 256)
HIDDEN_RATIO = 4096 / 9216


class Size(NamedTuple):
    """Trained parameters, and multiply-adds of the convolutions and linear layers an image."""

    parameters: int
    multiply_adds: int

    def __add__(self, other: "Size") -> "Size":
        return Size(*(a + b for a, b in zip(self, other, strict=True)))


def channels(width: float) -> list[int]:
    """c1 to c5: the encoder's feature maps."""
    return [max(1, round(width * c)) for c in CHANNELS]


def conv(inputs: int, outputs: int, side: int) -> Size:
    """A 3x3 convolution without bias on maps of side x side, and its normalisation's two each."""
    weights = 9 * inputs * outputs
    return Size(weights + 2 * outputs, weights * side * side)


def linear(inputs: int, outputs: int) -> Size:
    """A linear layer without bias, and its normalisation's two parameters a feature."""
    return Size(inputs * outputs + 2 * outputs, inputs * outputs)


def encoder_size(width: float) -> Size:
    c1, c2, c3, c4, c5 = channels(width)
    layers = conv(1, c1, 28), conv(c1, c2, 14), conv(c2, c3, 7), conv(c3, c4, 7), conv(c4, c5, 7)
    return sum(layers, Size(0, 0))


def alexnet_size(width: float, num_classes: int = 10) -> Size:
    features = 9 * channels(width)[-1]
    hidden = round(features * HIDDEN_RATIO)
    logits = Size(hidden * num_classes + num_classes, hidden * num_classes)  # with a bias
    return encoder_size(width) + linear(features, hidden) + linear(hidden, hidden) + logits


def autoencoder_size(
    width: float, skips: bool = True, outputs: int = 9, decoder_width: float = 0.5
) -> Size:
    """By default with the outputs of the default target: the image and eight directions."""
    c1, c2, _, _, c5 = channels(width)
    half1, half2 = (max(1, int(decoder_width * c)) for c in (c1, c2))
    decoder = (
        conv(c5, half2, 7),
        conv(half2 + c2 * skips, half1, 14),
        conv(half1 + c1 * skips, half1, 28),
        Size((half1 + 1) * outputs, half1 * outputs * 28 * 28),  # 1x1, with a bias
    )
    return sum(decoder, encoder_size(width))
