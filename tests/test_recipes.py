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


@pytest.mark.parametrize(
    ("options", "encoder", "name"),
    [
        ({}, None, "baseline"),
        ({"seed": 3}, None, "baseline"),
        ({"validations": 3}, None, "baseline"),
        ({"dataset": "digits"}, None, "baseline-digits"),
        ({"dataset": "digits", "flip": "random"}, None, "baseline-digits-flip-random"),
        ({"label_fraction": 0.003}, None, "baseline-labels0.3"),
        (
            {"label_fraction": 0.01, "epochs": 100, "learning_rate": 2e-3},
            None,
            "baseline-labels1-epochs100-rate0.002",
        ),
        ({"skip_test": True, "flip": "none"}, None, "baseline-notest-flip-none"),
        ({}, {}, "pretrained"),
        (
            {"freeze_encoder": True, "width": 0.5},
            {"epochs": 5, "width": 0.5},
            "pretrained-frozen-width0.5-from-epochs5",
        ),
        ({"seed": 1}, {}, "pretrained-from-seed0"),
        ({"dataset": "digits"}, {"dataset": "digits"}, "pretrained-digits"),
        ({}, {"dataset": "kmnist"}, "pretrained-from-kmnist"),
        ({"optimizer": "muon"}, None, "baseline-muon"),
        # A preset's word stands for its options, whoever gave them.
        (ORIGINAL, None, "baseline-original"),
        (ORIGINAL | {"width": 0.25, "epochs": 5}, None, "baseline-original-epochs5-width0.25"),
        (
            ORIGINAL | {"shift": 1},
            None,
            "baseline-smoothing0-rate0.001-width1-constant-shift1-flip-none",
        ),
        (FAST, None, "baseline-fast"),
        (FAST | {"epochs": 2}, None, "baseline-fast-epochs2"),
        (ORIGINAL, PLAIN, "pretrained-original"),
        (ORIGINAL, {"width": 1.0}, "pretrained-original-from-default"),
        ({}, PLAIN, "pretrained-from-original-width1"),
        (FAST, {}, "pretrained-fast"),
    ],
)
def test_a_classifiers_name_says_what_differs_from_its_preset(options, encoder, name):
    start = None if encoder is None else source(**encoder)
    setup = Setup(recipe=ClassifierRecipe(**options), encoder=start)
    assert setup.name == name
    assert str(setup.folder("x")) == f"x/{name}/seed{setup.recipe.seed}"


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({}, "autoencoder"),
        ({"corruption": "none"}, "autoencoder-none"),
        ({"target": "pixels", "skips": False}, "autoencoder-pixels-noskips"),
        (PLAIN, "autoencoder-original"),
        (PLAIN | {"dataset": "digits"}, "autoencoder-digits-original"),
        (PLAIN | {"shift": 1}, "autoencoder-none-rate0.001-width1-constant-shift1-flip-none"),
    ],
)  # fmt: skip
def test_an_autoencoders_name_says_what_differs_from_its_preset(options, name):
    assert Setup(recipe=AutoencoderRecipe(**options)).name == name


def test_runs_of_before_an_option_was_there_are_read():
    content = msgspec.to_builtins(Setup(recipe=ClassifierRecipe()))
    del content["recipe"]["optimizer"]
    assert msgspec.convert(content, Setup).recipe == ClassifierRecipe()


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
        value = getattr(usual.recipe, name)
        changes = {
            int: lambda value: value + 1,
            float: lambda value: value / 2 or 0.5,
            bool: lambda value: not value,
            str: {
                "schedule": {"one-cycle": "constant", "constant": "one-cycle"},
                "flip": {"alternate": "random", "none": "random"},
                "dataset": {"fashion": "digits"},
                "corruption": {"mask": "none", "none": "mask"},
                "target": {"gradients": "pixels", "pixels": "gradients"},
                "optimizer": {"adam": "muon"},
            }.get(name, {}).get,
        }  # fmt: skip
        other = changes[type(value)](value)
        changed = Setup(recipe=msgspec.structs.replace(usual.recipe, **{name: other}))
        assert usual.differences(changed), name
        assert changed.folder() != usual.folder(), name


def test_an_encoder_with_other_weights_is_a_difference():
    one = Setup(recipe=ClassifierRecipe(), encoder=source())
    other = EncoderSource(recipe=AutoencoderRecipe(), digest="1" * 64)
    assert one.differences(Setup(recipe=ClassifierRecipe(), encoder=other))
    assert not one.differences(Setup(recipe=ClassifierRecipe(), encoder=source()))


def test_an_encoder_is_the_runs_own_or_else_the_published_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    setup = Setup(recipe=AutoencoderRecipe(seed=2))
    own, published = (
        Path("mine/autoencoder/seed2/encoder.safetensors"),
        Path("results/weights/autoencoder-seed2.safetensors"),
    )
    assert setup.encoder_file("mine") == own
    for file in (published, own):
        file.parent.mkdir(parents=True)
        file.touch()
        assert setup.encoder_file("mine") == file


@pytest.mark.parametrize(("script", "struct"), PARSERS)
def test_the_command_line_has_the_recipes_defaults(script, struct):
    args = script.parse_args([])
    for kind in (struct, Machine, Files):
        assert take(args, kind) == kind()


@pytest.mark.parametrize(("script", "struct"), PARSERS)
@pytest.mark.parametrize(
    "options", ["--preset original --epochs 3", "--epochs 3 --preset original"]
)
def test_what_is_given_beside_a_preset_wins(script, struct, options):
    recipe = take(script.parse_args(options.split()), struct)
    assert recipe == struct(**struct.presets["original"] | {"epochs": 3})


def test_the_command_line_gives_every_option():
    args = train_baseline.parse_args(["--label-fraction", "0.01", "--flip", "none", "--skip-test"])
    expected = ClassifierRecipe(label_fraction=0.01, flip="none", skip_test=True)
    assert take(args, ClassifierRecipe) == expected
    args = pretrain_autoencoder.parse_args(["--no-skips", "--corruption", "none"])
    recipe = take(args, AutoencoderRecipe)
    assert recipe == AutoencoderRecipe(skips=False, corruption="none")
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
    with pytest.raises(SystemExit):
        train_baseline.parse_args(["--version"])
    assert capsys.readouterr().out.split()[-1] == VERSION
    citation = (Path(__file__).parents[1] / "CITATION.cff").read_text()
    assert f"\nversion: {VERSION}\n" in citation
