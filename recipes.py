"""Every option once: its type, default, range and meaning; presets; and the name of a run.

The command line, the study, the benchmark and the files of a run all use these classes; their
docstrings are the titles of `--help`'s groups. Importing this is instant.
"""

from functools import cache
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from msgspec import Meta, Struct
from msgspec.structs import force_setattr

from harness.options import about, defaults, option_name, options_of

WEIGHTS_DIR = Path("results/weights")  # the published ones
ENCODER, MODEL = "encoder.safetensors", "model.safetensors"  # the weights that a run leaves
DEFAULT_MODEL = str(WEIGHTS_DIR / "pretrained-seed0.safetensors")
FLIPS = {"fashion": "alternate", "mnist": "none", "kmnist": "none", "digits": "none"}
TARGETS = {"mask": "gradients", "none": "pixels"}

Dataset = Literal["fashion", "mnist", "kmnist", "digits"]
Schedule = Literal["one-cycle", "constant"]
Optimizer = Literal["adam", "muon"]
Flip = Literal["alternate", "random", "none"]
Corruption = Literal["mask", "none"]
Target = Literal["gradients", "normalised", "pixels"]
Device = Literal["auto", "cpu", "cuda", "mps"]
Precision = Literal["auto", "fp32", "bf16"]

# What the original experiment's report says of both trainings; where it leaves something open,
# PyTorch's default rate, and nothing done to images or labels.
ORIGINAL = {
    "width": 1.0,
    "epochs": 10,
    "batch_size": 128,
    "learning_rate": 1e-3,
    "schedule": "constant",
    "shift": 0,
    "flip": "none",
}
SIZES = ("width", "epochs", "batch_size")  # a run of another size is still of its preset


class Recipe(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """training: what decides its result"""

    # Other defaults, under a name.
    presets: ClassVar[dict[str, dict[str, object]]] = {"default": {}}

    epochs: Annotated[int, about("passes over the images", "epochs{}", ge=1, le=100_000)] = 10
    batch_size: Annotated[int, about("images in a step", "batch{}", ge=2, le=60_000)] = 128
    learning_rate: Annotated[
        float, about("Adam's highest rate; Muon's is 25 times it", "rate{}", gt=0, le=10)
    ] = 4e-3
    optimizer: Annotated[
        Optimizer, about("Adam alone, or Muon (Jordan 2024) for all filters but the first", "{}")
    ] = "adam"
    seed: Annotated[
        int, about("decides split, order, augmentation and start", "seed{}", ge=0, lt=2**32)
    ] = 0
    width: Annotated[float, about("channels, times AlexNet's", "width{}", gt=0, le=4)] = 0.25
    schedule: Annotated[Schedule, about("learning rate over the run", "{}")] = "one-cycle"
    shift: Annotated[
        int, about("random translation in training, up to so many pixels", "shift{}", ge=0, le=27)
    ] = 2
    flip: Annotated[
        Flip | None,
        about("mirroring in training (default: alternate for fashion, else none)", "flip-{}"),
    ] = None
    dataset: Annotated[Dataset, about("images; digits need no download", "{}")] = "fashion"
    validations: Annotated[int, about("how often validation is measured", ge=1, le=100_000)] = 10

    def __post_init__(self) -> None:
        for name, value in self.implied().items():
            if getattr(self, name) is None:
                force_setattr(self, name, value)

    def implied(self) -> dict[str, str]:
        """The defaults that depend on other options. A mirrored digit is another sign."""
        return {"flip": FLIPS[self.dataset]}

    @property
    def preset(self) -> str:
        """The last of the presets whose options, sizes aside, are the recipe's."""
        return [
            preset
            for preset, options in self.presets.items()
            if all(getattr(self, n) == value for n, value in options.items() if n not in SIZES)
        ][-1]

    def words(self, left_out: tuple[str, ...]) -> list[str]:
        """What differs from the preset: a word an option."""
        usual = defaults(type(self)) | self.implied() | self.presets[self.preset]
        return [
            self.word(name)
            for name in decisive(type(self))
            if name not in left_out and getattr(self, name) != usual[name]
        ]

    def word(self, name: str) -> str:
        """An option and its value as a part of a run's name."""
        value = getattr(self, name)
        if name.endswith("fraction"):  # as a percentage
            value = 100 * value
        text = f"{value:.10g}" if isinstance(value, float) else value
        return decisive(type(self))[name].format(text)


class ClassifierRecipe(Recipe, frozen=True, kw_only=True, tag="classifier", tag_field="kind"):
    """classifier: what decides its result, beside its encoder"""

    presets: ClassVar[dict[str, dict[str, object]]] = {
        "default": {},
        "original": {**ORIGINAL, "label_smoothing": 0.0},
        "fast": {"epochs": 1, "optimizer": "muon", "shift": 0},
    }

    label_fraction: Annotated[
        float, about("label budget: share of the training labels used", "labels{}", gt=0, le=1)
    ] = 1.0
    freeze_encoder: Annotated[bool, about("train the head alone", "frozen")] = False
    encoder_lr_scale: Annotated[
        float, about("encoder's rate, times the head's", "encoderrate{}", gt=0, le=100)
    ] = 1.0
    label_smoothing: Annotated[
        float, about("in the training loss (Szegedy et al. 2016)", "smoothing{}", ge=0, lt=1)
    ] = 0.1
    auxiliary_loss: Annotated[
        float,
        about("weight of reconstructing images without labels", "auxiliary{}", ge=0, le=100),
    ] = 0.0
    skip_test: Annotated[
        bool, about("never read the test set: for runs that choose between recipes", "notest")
    ] = False


class AutoencoderRecipe(Recipe, frozen=True, kw_only=True, tag="autoencoder", tag_field="kind"):
    """autoencoder: what decides its result"""

    presets: ClassVar[dict[str, dict[str, object]]] = {
        "default": {},
        "original": {**ORIGINAL, "corruption": "none"},
    }

    corruption: Annotated[
        Corruption, about("what is done to the input; none is the plain autoencoder", "{}")
    ] = "mask"
    target: Annotated[
        Target | None,
        about(
            "what is predicted: gradients, that is normalised patches and HOG (default with mask), "
            "normalised patches, or pixels (default without)",
            "{}",
        ),
    ] = None
    hidden_patches: Annotated[
        int, about("how many of an image's 49 patches mask hides", "hidden{}", ge=1, le=48)
    ] = 24
    skips: Annotated[bool, about("no skip connections in the decoder", "noskips")] = True
    decoder_width: Annotated[
        float, about("the decoder's channels, times the encoder's", "decoder{}", gt=0, le=4)
    ] = 0.5
    image_fraction: Annotated[
        float, about("share of the training images used", "images{}", gt=0, le=1)
    ] = 1.0

    def implied(self) -> dict[str, str]:
        return {**super().implied(), "target": TARGETS[self.corruption]}


@cache
def decisive(recipe: type[Recipe]) -> dict[str, str]:
    """The options that decide a result, the recipe's own first, each with its word."""
    words = {name: meta.extra["word"] for name, (_, meta) in options_of(recipe).items()}
    return {name: word for name, word in words.items() if word}


class EncoderSource(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The pretrained encoder that a classifier starts from: its recipe, and its weights' digest."""

    recipe: AutoencoderRecipe
    digest: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]


class Setup(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All that decides a run's result: its recipe and, where it has one, its pretrained encoder."""

    recipe: ClassifierRecipe | AutoencoderRecipe
    encoder: EncoderSource | None = None

    @property
    def kind(self) -> str:
        if isinstance(self.recipe, AutoencoderRecipe):
            return "autoencoder"
        return "pretrained" if self.encoder else "baseline"

    @property
    def name(self) -> str:
        """What the run is, its preset, then what differs from that, for example
        `pretrained-labels1-epochs100-from-noskips`: the encoder's words follow `from`.
        """
        recipe = self.recipe
        words = [self.kind]
        words += [recipe.dataset] if recipe.dataset != "fashion" else []
        words += [recipe.preset] if recipe.preset != "default" else []
        words += recipe.words(left_out=("seed", "dataset"))
        if self.encoder:
            source = self.encoder.recipe
            shared = ("seed", "dataset", "width")
            own = [source.preset] if source.preset != pretraining(recipe).preset else []
            own += source.words(left_out=shared)
            own += [source.word(n) for n in shared if getattr(source, n) != getattr(recipe, n)]
            words += ["from", *own] if own else []
        return "-".join(words)

    def folder(self, runs_dir: str | Path = "runs") -> Path:
        """Where the run is kept: `<runs_dir>/<name>/seed<seed>`."""
        return Path(runs_dir) / self.name / f"seed{self.recipe.seed}"

    def encoder_file(self, runs_dir: str | Path) -> Path:
        """Where a pretraining's encoder is: with its run, or else where it is published."""
        own = self.folder(runs_dir) / ENCODER
        published = WEIGHTS_DIR / f"{self.name}-seed{self.recipe.seed}.safetensors"
        return published if published.exists() and not own.exists() else own

    def differences(self, other: "Setup") -> list[str]:
        """In words, each option that decides a result and differs in the other setup."""
        if self.kind != other.kind:
            return [f"it is of {other.kind}, not {self.kind}"]
        pairs = [("", self.recipe, other.recipe)]
        if self.encoder:
            pairs.append(("the encoder's ", self.encoder.recipe, other.encoder.recipe))
        differences = [
            f"{whose}{option_name(name)} is {getattr(there, name)} there and "
            f"{getattr(here, name)} here"
            for whose, here, there in pairs
            for name in decisive(type(here))
            if getattr(here, name) != getattr(there, name)
        ]
        if not differences and self.encoder and self.encoder.digest != other.encoder.digest:
            differences.append("the encoder's weights are others")
        return differences


def pretraining(recipe: ClassifierRecipe) -> AutoencoderRecipe:
    """The pretraining that a classifier starts from by default: of its preset, where it has one."""
    options = AutoencoderRecipe.presets.get(recipe.preset, {})
    shared = {name: getattr(recipe, name) for name in ("dataset", "seed", "width")}
    return AutoencoderRecipe(**options | shared)


class Files(Struct, frozen=True, kw_only=True):
    """files"""

    data_dir: Annotated[str, about("holds FashionMNIST/raw/*.gz; filled where empty")] = "data"
    runs_dir: Annotated[str, about("a run is kept in a folder of its own there")] = "runs"
    overwrite: Annotated[bool, about("start the run afresh")] = False


class Display(Struct, frozen=True, kw_only=True):
    """display"""

    quiet: Annotated[bool, about("print only errors")] = False
    tensorboard: Annotated[bool, about("curves and pictures for `tensorboard --logdir runs`")] = (
        False
    )


class Machine(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """machine"""

    device: Annotated[Device, about("processor or graphics card")] = "auto"
    threads: Annotated[
        int | None,
        about(
            "CPU threads; fewer where other programs are busy (default: one a core)", ge=1, le=1024
        ),
    ] = None
    precision: Annotated[
        Precision, about("number format; bf16 where the machine is fast with it")
    ] = "auto"
    compile: Annotated[bool, about("compile the network with torch.compile")] = False
