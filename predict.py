"""Say what a trained model sees in image files: a row a file, the likeliest classes first."""

from errors import UserError, exit_cleanly
from options import Parser, positive_int

BRIGHT = 127  # a border brighter than this is a light background, which Fashion-MNIST never has


def parse_args(argv=None):
    parser = Parser(description=__doc__)
    parser.add_argument("images", nargs="+", help="image files of any size; one item each")
    parser.add_argument(
        "--model",
        default="runs/baseline/labels100/seed0/model.pt",
        help="weights that a training run has left",
    )
    parser.add_argument("--top", type=positive_int, default=3, help="classes shown")
    return parser.parse_args(argv)


@exit_cleanly
def main(argv=None) -> None:
    args = parse_args(argv)
    # Imported only now, so that --help and a mistyped option are answered at once.
    import torch

    from batches import Normalisation
    from models import AlexNet
    from rundir import load_weights

    weights = load_weights(args.model, "alexnet")
    model = AlexNet(**weights["arguments"]).eval()
    model.load_state_dict(weights["state"], strict=True)
    normalise = Normalisation(**weights["normalisation"])
    with torch.inference_mode():
        pixels = torch.stack([read_image(path) for path in args.images])
        probabilities = model(normalise(pixels)).softmax(dim=1)
    for path, row in zip(args.images, probabilities, strict=True):
        shares, classes = row.topk(min(args.top, len(row)))
        likeliest = ", ".join(
            f"{weights['classes'][index]} {share:.3f}"
            for share, index in zip(shares.tolist(), classes.tolist(), strict=True)
        )
        print(f"{path}: {likeliest}")


def read_image(path: str):
    """An image file as Fashion-MNIST shows things: uint8 (28, 28), light on black, centred.

    Raises:
        UserError: the file is missing or not an image.
    """
    import numpy as np
    import torch
    from PIL import Image, ImageOps

    from data import SIZE

    try:
        with Image.open(path) as file:
            image = ImageOps.exif_transpose(file).convert("L")
    except FileNotFoundError as error:
        raise UserError(f"'{path}' is missing") from error
    except OSError as error:
        raise UserError(f"'{path}' is not an image that can be read: {error}") from error
    pixels = np.asarray(image)
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    if np.median(border) > BRIGHT:
        image = ImageOps.invert(image)
    return torch.from_numpy(np.array(ImageOps.pad(image, (SIZE, SIZE), color=0)))


if __name__ == "__main__":
    main()
