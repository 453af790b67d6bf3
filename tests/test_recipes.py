"""Options and names: each option once, a name for each recipe, the command line from both."""

import string
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pretrain_autoencoder
import train_baseline
import train_pretrained
from harness.options import VERSION, choices_of, options_of, take
from recipes import (
    AutoencoderRecipe,
    ClassifierRecipe,
    EncoderSource,
    Files,
    Machine,
    Recipe,
    Setup,
    decisive,
)

DIGEST = "0" * 64
ORIGINAL = ClassifierRecipe.presets["original"]
PLAIN = AutoencoderRecipe.presets["original"]
FAST = ClassifierRecipe.presets["fast"]
PARSERS = [
    (train_baseline, ClassifierRecipe),
    (train_pretrained, ClassifierRecipe),
    (pretrain_autoencoder, AutoencoderRecipe),
]


def source(**options) -> EncoderSource:
    return EncoderSource(recipe=AutoencoderRecipe(**options), digest=DIGEST)


def classifier(encoder: EncoderSource | None = None, **options) -> Setup:
    return Setup(recipe=ClassifierRecipe(**options), encoder=encoder)


def autoencoder(**options) -> Setup:
    return Setup(recipe=AutoencoderRecipe(**options))


@pytest.mark.parametrize(("name", "setup"), [
    ("baseline", classifier()),
    ("baseline", classifier(seed=3)),
    ("baseline", classifier(validations=3)),
    ("baseline-digits", classifier(dataset="digits")),
    ("baseline-digits-flip-random", classifier(dataset="digits", flip="random")),
    ("baseline-labels0.3", classifier(label_fraction=0.003)),
    ("baseline-labels1-epochs100-rate0.002",
     classifier(label_fraction=0.01, epochs=100, learning_rate=2e-3)),
    ("baseline-notest-flip-none", classifier(skip_test=True, flip="none")),
    ("baseline-muon", classifier(optimizer="muon")),
    ("pretrained", classifier(source())),
    ("pretrained-from-seed0", classifier(source(), seed=1)),
    ("pretrained-from-kmnist", classifier(source(dataset="kmnist"))),
    ("pretrained-digits", classifier(source(dataset="digits"), dataset="digits")),
    ("pretrained-frozen-width0.5-from-epochs5",
     classifier(source(epochs=5, width=0.5), width=0.5, freeze_encoder=True)),
    # A preset's word stands for its options, whoever gave them.
    ("baseline-fast", classifier(**FAST)),
    ("baseline-fast-epochs2", classifier(**FAST | {"epochs": 2})),
    ("baseline-original", classifier(**ORIGINAL)),
    ("baseline-original-epochs5-width2", classifier(**ORIGINAL | {"epochs": 5, "width": 2.0})),
    ("baseline-smoothing0-rate0.001-width1-constant-shift1-flip-none",
     classifier(**ORIGINAL | {"shift": 1})),
    ("pretrained-fast", classifier(source(), **FAST)),
    ("pretrained-original", classifier(source(**PLAIN), **ORIGINAL)),
    ("pretrained-original-from-default", classifier(source(width=1.0), **ORIGINAL)),
    ("pretrained-from-original-width1", classifier(source(**PLAIN))),
    ("autoencoder", autoencoder()),
    ("autoencoder-none", autoencoder(corruption="none")),
    ("autoencoder-pixels-noskips", autoencoder(target="pixels", skips=False)),
    ("autoencoder-original", autoencoder(**PLAIN)),
    ("autoencoder-digits-original", autoencoder(**PLAIN | {"dataset": "digits"})),
    ("autoencoder-none-rate0.001-width1-constant-shift1-flip-none",
     autoencoder(**PLAIN | {"shift": 1})),
])  # fmt: skip
def test_a_name_says_what_differs_from_its_preset(name, setup):
    assert setup.name == name
    assert str(setup.folder("x")) == f"x/{name}/seed{setup.recipe.seed}"


def test_runs_of_before_an_option_was_there_are_read():
    content = msgspec.to_builtins(Setup(recipe=ClassifierRecipe()))
    del content["recipe"]["optimizer"]
    assert msgspec.convert(content, Setup).recipe == ClassifierRecipe()


def values_of(struct):
    """A strategy of instances with any values in the stated ranges."""
    strategies = {}
    for name, (kind, meta) in options_of(struct).items():
        low = meta.ge if meta.ge is not None else meta.gt
        high = meta.le if meta.le is not None else meta.lt
        if kind is int:
            strategies[name] = st.integers(low, high - (meta.le is None))
        elif kind is float:
            strategies[name] = st.floats(low, high, exclude_min=True, exclude_max=True)
        else:
            strategies[name] = st.from_type(kind)
    return st.builds(struct, **strategies)


sources = st.builds(EncoderSource, recipe=values_of(AutoencoderRecipe), digest=st.just(DIGEST))
setups = st.builds(
    Setup, recipe=values_of(ClassifierRecipe), encoder=st.none() | sources
) | st.builds(Setup, recipe=values_of(AutoencoderRecipe))


@given(setups)
def test_a_name_is_one_safe_word_and_a_setup_survives_its_file(setup):
    assert set(setup.name) <= set(string.ascii_lowercase + string.digits + "-.+")
    assert not setup.name.startswith((".", "-"))
    assert msgspec.json.decode(msgspec.json.encode(setup), type=Setup) == setup


@pytest.mark.parametrize("struct", [ClassifierRecipe, AutoencoderRecipe])
@pytest.mark.parametrize("preset", ["default", "original"])
def test_every_option_that_decides_has_its_own_place_in_the_name(struct, preset):
    """Changing any one option changes the name, and is told as a difference."""
    usual = Setup(recipe=struct(**struct.presets[preset]))
    for name in decisive(struct):
        kind, _ = options_of(struct)[name]
        value = getattr(usual.recipe, name)
        others = {
            int: lambda value: value + 1,
            float: lambda value: value / 2 or 0.5,
            bool: lambda value: not value,
            str: lambda value, kind=kind: next(c for c in choices_of(kind) if c != value),
        }
        other = others[type(value)](value)
        changed = Setup(recipe=msgspec.structs.replace(usual.recipe, **{name: other}))
        assert usual.differences(changed), name
        assert changed.folder() != usual.folder(), name


def test_an_encoder_with_other_weights_is_a_difference():
    one, other = classifier(source()), EncoderSource(recipe=AutoencoderRecipe(), digest="1" * 64)
    assert one.differences(classifier(other))
    assert not one.differences(classifier(source()))


def test_an_encoder_is_the_runs_own_or_else_the_published_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    setup = autoencoder(seed=2)
    own = Path("mine/autoencoder/seed2/encoder.safetensors")
    published = Path("results/weights/autoencoder-seed2.safetensors")
    assert setup.encoder_file("mine") == own
    for file in (published, own):
        file.parent.mkdir(parents=True)
        file.touch()
        assert setup.encoder_file("mine") == file


@pytest.mark.parametrize(("script", "struct"), PARSERS)
def test_defaults_are_the_recipes_and_presets_are_overruled(script, struct):
    args = script.parse_args([])
    for kind in (struct, Machine, Files):
        assert take(args, kind) == kind()
    for options in ("--preset original --epochs 3", "--epochs 3 --preset original"):
        recipe = take(script.parse_args(options.split()), struct)
        assert recipe == struct(**struct.presets["original"] | {"epochs": 3})


def test_the_command_line_gives_every_option():
    args = train_baseline.parse_args(["--label-fraction", "0.01", "--flip", "none", "--skip-test"])
    expected = ClassifierRecipe(label_fraction=0.01, flip="none", skip_test=True)
    assert take(args, ClassifierRecipe) == expected
    args = pretrain_autoencoder.parse_args(["--no-skips", "--corruption", "none"])
    expected = AutoencoderRecipe(skips=False, corruption="none", target="pixels")
    assert take(args, AutoencoderRecipe) == expected


@given(st.sampled_from(sorted(options_of(ClassifierRecipe))), st.text(max_size=20))
def test_any_value_is_taken_or_refused_in_a_line(name, text):
    """No value of an option is a traceback, and what is taken is in the option's range."""
    kind, _ = options_of(ClassifierRecipe)[name]
    if kind is bool:
        return
    try:
        args = train_baseline.parse_args([f"--{name.replace('_', '-')}={text}"])
    except SystemExit as exit_:
        assert exit_.code == 2
    else:
        recipe = take(args, ClassifierRecipe)
        assert msgspec.convert(msgspec.to_builtins(recipe), ClassifierRecipe) == recipe


@pytest.mark.parametrize("struct", [Recipe, ClassifierRecipe, AutoencoderRecipe, Machine, Files])
def test_every_option_is_explained(struct):
    for kind, meta in options_of(struct).values():
        assert meta.description
        if kind in (int, float):
            assert meta.le is not None or meta.lt is not None


def test_the_version_is_that_of_the_citation(capsys):
    with pytest.raises(SystemExit):
        train_baseline.parse_args(["--version"])
    assert capsys.readouterr().out.split()[-1] == VERSION
    citation = (Path(__file__).parents[1] / "CITATION.cff").read_text()
    assert f"\nversion: {VERSION}\n" in citation
