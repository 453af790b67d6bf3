"""AlexNet for 28x28 grey images, and the U-Net autoencoder that pretrains its encoder.

Both hold the same `Encoder` under the same name, so a pretrained one is handed over with
`model.encoder.load_state_dict(encoder.state_dict(), strict=True)`.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

CHANNELS = (64, 192, 384, 256, 256)  # Krizhevsky 2014 (arXiv:1404.5997), as in torchvision
HIDDEN_RATIO = 4096 / 9216  # AlexNet's hidden layers, as a share of its flattened features


def conv_block(in_channels: int, out_channels: int) -> nn.Sequential:
    """3x3 convolution that keeps the size, batch normalisation, ReLU."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )


class Encoder(nn.Module):
    """AlexNet's five convolutions in three stages, with its layer order and width ratios.

    Departures from the original, which saw 224x224 colour images, each with its reason:
    - conv1 3x3 stride 1 on one channel (11x11 stride 4 on three): an input 8 times smaller
      has nothing to spare, and the first stage keeps the full 28x28 for the U-Net's skip.
    - conv2 3x3 (5x5): a 5x5 would cost the encoder 30 % more arithmetic.
    - max pools with padding 1: 28 -> 14 -> 7, so that the decoder can double sizes exactly.
    - batch normalisation after each convolution instead of local response normalisation
      (conv1, conv2): trains in 10 epochs; its shift makes the convolutions' biases redundant.
    - `width` scales all channels, since 28x28 images need fewer; what wider networks bring is in
      STUDY.md («Does it hold for wider nets?»).
    """

    def __init__(self, width: float):
        super().__init__()
        self.channels = c1, c2, c3, c4, c5 = [max(1, round(width * c)) for c in CHANNELS]
        self.stage1 = conv_block(1, c1)
        self.stage2 = nn.Sequential(halve(), conv_block(c1, c2))
        self.stage3 = nn.Sequential(
            halve(), conv_block(c2, c3), conv_block(c3, c4), conv_block(c4, c5)
        )

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Normalised (N, 1, 28, 28) to maps (N, c1, 28, 28), (N, c2, 14, 14), (N, c5, 7, 7)."""
        maps28 = self.stage1(images)
        maps14 = self.stage2(maps28)
        return maps28, maps14, self.stage3(maps14)


def halve() -> nn.MaxPool2d:
    """AlexNet's overlapping max pool (3x3, stride 2), padded to halve an even size exactly."""
    return nn.MaxPool2d(kernel_size=3, stride=2, padding=1)


class AlexNet(nn.Module):
    """Encoder and AlexNet's classifier: pool, two hidden layers, logits.

    Departures from the original's head, each with its reason:
    - hidden layers shrink with the flattened features, in the original's ratio 4096 / 9216.
    - batch normalisation in place of dropout: in ten epochs the network does not overfit, and
      normalised it learns faster.
    """

    def __init__(self, width: float, num_classes: int = 10):
        super().__init__()
        self.encoder = Encoder(width)
        self.encoder_is_frozen = False
        features = self.encoder.channels[-1] * 3 * 3
        hidden = round(features * HIDDEN_RATIO)
        self.classifier = nn.Sequential(
            nn.MaxPool2d(kernel_size=3, stride=2),  # 7x7 -> 3x3
            nn.Flatten(),
            linear_block(features, hidden),
            linear_block(hidden, hidden),
            nn.Linear(hidden, num_classes),
        )

    def forward(self, images: Tensor) -> Tensor:
        """(N, 1, 28, 28) normalised images to logits (N, num_classes)."""
        return self.classifier(self.encoder(images)[-1])

    def hidden(self, images: Tensor) -> Tensor:
        """The last hidden layer's features, (N, hidden units)."""
        return self.classifier[:-1](self.encoder(images)[-1])

    def freeze_encoder(self) -> None:
        """Keep the encoder's weights and its normalisation statistics as they are."""
        self.encoder_is_frozen = True
        self.encoder.requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> "AlexNet":
        super().train(mode)
        if self.encoder_is_frozen:
            self.encoder.eval()
        return self


def linear_block(in_features: int, out_features: int) -> nn.Sequential:
    """Linear layer, batch normalisation, ReLU."""
    return nn.Sequential(
        nn.Linear(in_features, out_features, bias=False),
        nn.BatchNorm1d(out_features),
        nn.ReLU(inplace=True),
    )


class Decoder(nn.Module):
    """A light U-Net decoder (Ronneberger et al. 2015, arXiv:1505.04597).

    At each scale it doubles the size (nearest neighbour, which leaves no checkerboard), joins the
    encoder's maps of that size if `skips`, and mixes both with a 3x3 convolution. By default it is
    half as wide as the encoder: what is wanted is the encoder, and a light decoder leaves the work
    to it (He et al. 2022, arXiv:2111.06377).

    Args:
        channels: the encoder's.
        outputs: maps that it gives: the image's, and those of what else is to be reconstructed.
        width: its own channels, as a multiple of the encoder's at each scale.
    """

    def __init__(self, channels: Sequence[int], skips: bool, outputs: int, width: float):
        super().__init__()
        self.skips = skips
        c1, c2, _, _, c5 = channels
        d1, d2 = (max(1, int(width * c)) for c in (c1, c2))
        self.upsample = nn.Upsample(scale_factor=2, mode="nearest")
        self.reduce7 = conv_block(c5, d2)
        self.mix14 = conv_block(d2 + c2 * skips, d1)
        self.mix28 = conv_block(d1 + c1 * skips, d1)
        self.to_image = nn.Conv2d(d1, outputs, kernel_size=1)

    def forward(self, maps28: Tensor, maps14: Tensor, maps7: Tensor) -> Tensor:
        """The encoder's maps to reconstructions (N, outputs, 28, 28)."""
        maps = self.mix14(self._join(self.upsample(self.reduce7(maps7)), maps14))
        return self.to_image(self.mix28(self._join(self.upsample(maps), maps28)))

    def _join(self, maps: Tensor, skip: Tensor) -> Tensor:
        return torch.cat([maps, skip], dim=1) if self.skips else maps


class UNetAutoencoder(nn.Module):
    """Encoder and decoder. Arguments beside the encoder's width: as `Decoder`."""

    def __init__(
        self, width: float, skips: bool = True, outputs: int = 1, decoder_width: float = 0.5
    ):
        super().__init__()
        self.encoder = Encoder(width)
        self.decoder = Decoder(self.encoder.channels, skips, outputs, decoder_width)

    def forward(self, images: Tensor) -> Tensor:
        """(N, 1, 28, 28) normalised images to reconstructions (N, outputs, 28, 28)."""
        return self.decoder(*self.encoder(images))


def hidden_filters(model: nn.Module) -> list[nn.Parameter]:
    """The filters of all 3x3 convolutions but the first."""
    layers = [layer for layer in model.modules() if isinstance(layer, nn.Conv2d)]
    return [layer.weight for layer in layers[1:] if layer.kernel_size == (3, 3)]
