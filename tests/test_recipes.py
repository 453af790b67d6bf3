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
from harness.options import VERSION, options_of, take
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


def source(**options) -> EncoderSource:
    return EncoderSource(recipe=AutoencoderRecipe(**options), digest=DIGEST)


ORIGINAL = AutoencoderRecipe.presets["original"]
PLAIN = "baseline-smoothing0-rate0.001-width1-constant-shift0-flip-none"


def original(recipe, encoder: Setup | None = None, **options) -> Setup:
    made = recipe(**recipe.presets["original"] | options)
    from_ = EncoderSource(recipe=encoder.recipe, digest=DIGEST) if encoder else None
    return Setup(recipe=made, encoder=from_)


@pytest.mark.parametrize(
    ("setup", "name"),
    [
        (Setup(recipe=ClassifierRecipe()), "baseline"),
        (Setup(recipe=ClassifierRecipe(seed=3)), "baseline"),
        (Setup(recipe=ClassifierRecipe(validations=3)), "baseline"),
        (Setup(recipe=ClassifierRecipe(dataset="digits")), "baseline-digits"),
        (Setup(recipe=ClassifierRecipe(dataset="digits", flip="random")), None),
        (Setup(recipe=ClassifierRecipe(label_fraction=0.003)), "baseline-labels0.3"),
        (
            Setup(recipe=ClassifierRecipe(label_fraction=0.01, epochs=100, learning_rate=2e-3)),
            "baseline-labels1-epochs100-rate0.002",
        ),
        (Setup(recipe=ClassifierRecipe(skip_test=True, flip="none")), "baseline-notest-flip-none"),
        (Setup(recipe=AutoencoderRecipe()), "autoencoder"),
        (Setup(recipe=AutoencoderRecipe(corruption="none")), "autoencoder-none"),
        (
            Setup(recipe=AutoencoderRecipe(target="pixels", skips=False)),
            "autoencoder-pixels-noskips",
        ),
        (Setup(recipe=ClassifierRecipe(), encoder=source()), "pretrained"),
        (
            Setup(
                recipe=ClassifierRecipe(freeze_encoder=True, width=0.5),
                encoder=source(epochs=5, width=0.5),
            ),
            "pretrained-frozen-width0.5-from-epochs5",
        ),
        (Setup(recipe=ClassifierRecipe(seed=1), encoder=source()), "pretrained-from-seed0"),
        (
            Setup(recipe=ClassifierRecipe(dataset="digits"), encoder=source(dataset="digits")),
            "pretrained-digits",
        ),
        (
            Setup(recipe=ClassifierRecipe(), encoder=source(dataset="kmnist")),
            "pretrained-from-kmnist",
        ),
        (original(ClassifierRecipe), "baseline-original"),
        (original(ClassifierRecipe, width=0.25, epochs=5), "baseline-original-epochs5-width0.25"),
        (original(ClassifierRecipe, shift=1), PLAIN.replace("shift0", "shift1")),
        (original(AutoencoderRecipe, dataset="digits"), "autoencoder-digits-original"),
        (original(ClassifierRecipe, encoder=original(AutoencoderRecipe)), "pretrained-original"),
        (
            original(ClassifierRecipe, encoder=Setup(recipe=AutoencoderRecipe(width=1.0))),
            "pretrained-original-from-default",
        ),
        (
            Setup(recipe=ClassifierRecipe(), encoder=source(**ORIGINAL)),
            "pretrained-from-original-width1",
        ),
    ],
)
def test_a_name_says_what_differs_from_the_defaults(setup, name):
    assert setup.name == (name or "baseline-digits-flip-random")
    assert str(setup.folder("x")) == f"x/{setup.name}/seed{setup.recipe.seed}"


def values_of(struct):
    """A strategy of instances with any values in the stated ranges."""
    strategies = {}
    for name, (kind, meta) in options_of(struct).items():
        if kind is int:
            most = meta.le if meta.le is not None else meta.lt - 1
            strategies[name] = st.integers(meta.ge, most)
        elif kind is float:
            low = meta.gt if meta.gt is not None else meta.ge
            high = meta.le if meta.le is not None else meta.lt
            strategies[name] = st.floats(low, high, exclude_min=True, exclude_max=True)
        else:
            strategies[name] = st.from_type(kind)
    return st.builds(struct, **strategies)


setups = st.builds(
    Setup,
    recipe=values_of(ClassifierRecipe),
    encoder=st.none()
    | st.builds(EncoderSource, recipe=values_of(AutoencoderRecipe), digest=st.just(DIGEST)),
) | st.builds(Setup, recipe=values_of(AutoencoderRecipe))


@given(setups)
def test_a_name_is_one_safe_word(setup):
    assert set(setup.name) <= set(string.ascii_lowercase + string.digits + "-.+")
    assert not setup.name.startswith((".", "-"))


@given(setups)
def test_a_setup_survives_its_file(setup):
    assert msgspec.json.decode(msgspec.json.encode(setup), type=Setup) == setup


@pytest.mark.parametrize("struct", [ClassifierRecipe, AutoencoderRecipe])
def test_every_option_that_decides_has_its_own_place_in_the_name(struct):
    """Changing any one option changes the name, and is told as a difference."""
    usual = Setup(recipe=struct())
    others = {
        int: lambda value: value + 1,
        float: lambda value: value / 2 or 0.5,
        bool: lambda value: not value,
    }
    for name in decisive(struct):
        value = getattr(usual.recipe, name)
        kind = options_of(struct)[name][0]
        if kind in others:
            other = others[kind](value)
        else:
            choices = {
                "schedule": "constant",
                "flip": "random",
                "dataset": "digits",
                "corruption": "noise",
                "target": "pixels",
            }
            other = choices[name]
        changed = Setup(recipe=msgspec.structs.replace(usual.recipe, **{name: other}))
        assert usual.differences(changed), name
        assert changed.folder() != usual.folder(), name


def test_an_encoder_with_other_weights_is_a_difference():
    one = Setup(recipe=ClassifierRecipe(), encoder=source())
    other = EncoderSource(recipe=AutoencoderRecipe(), digest="1" * 64)
    assert one.differences(Setup(recipe=ClassifierRecipe(), encoder=other))
    assert not one.differences(Setup(recipe=ClassifierRecipe(), encoder=source()))


@pytest.mark.parametrize(
    ("script", "struct"),
    [
        (train_baseline, ClassifierRecipe),
        (train_pretrained, ClassifierRecipe),
        (pretrain_autoencoder, AutoencoderRecipe),
    ],
)
def test_the_command_line_has_the_recipes_defaults(script, struct):
    args = script.parse_args([])
    assert take(args, struct) == struct()
    assert take(args, Machine) == Machine()
    assert take(args, Files) == Files()


@pytest.mark.parametrize(
    "options", ["--preset original --epochs 3", "--epochs 3 --preset original"]
)
def test_what_is_given_beside_a_preset_wins(options):
    recipe = take(train_baseline.parse_args(options.split()), ClassifierRecipe)
    assert recipe == original(ClassifierRecipe, epochs=3).recipe
    recipe = take(pretrain_autoencoder.parse_args(options.split()), AutoencoderRecipe)
    assert recipe == original(AutoencoderRecipe, epochs=3).recipe
    assert recipe.target == "pixels"


def test_the_command_line_gives_every_option():
    args = train_baseline.parse_args(["--label-fraction", "0.01", "--flip", "none", "--skip-test"])
    assert take(args, ClassifierRecipe) == ClassifierRecipe(
        label_fraction=0.01, flip="none", skip_test=True
    )
    args = pretrain_autoencoder.parse_args(["--no-skips", "--corruption", "noise"])
    recipe = take(args, AutoencoderRecipe)
    assert recipe == AutoencoderRecipe(skips=False, corruption="noise")
    assert recipe.target == "pixels"


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
    with pytest.raises(SystemExit) as exit_:
        train_baseline.parse_args(["--version"])
    assert exit_.value.code == 0
    assert capsys.readouterr().out.split()[-1] == VERSION
    citation = (Path(__file__).parents[1] / "CITATION.cff").read_text()
    assert f"\nversion: {VERSION}\n" in citation
