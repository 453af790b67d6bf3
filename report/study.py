"""What is asked: study.toml's arms, label budgets and questions, and the runs that answer them."""

import tomllib
from pathlib import Path

import msgspec
import pandas as pd
from msgspec import Struct

from harness.errors import UserError
from harness.files import read_bytes, shown
from recipes import AutoencoderRecipe, ClassifierRecipe, EncoderSource, Setup
from report.tables import PLAN

Options = dict[str, bool | int | float | str]
MINUS = " minus "
UNKNOWN = "0" * 64  # the digest of weights that are not there yet
TEST = "test_accuracy"


class Arm(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One way to train the classifier.

    Args:
        title: the words that tables and pictures show.
        recipe: the table of `budgets` with its epochs, batch size and rate.
        options: what else differs from ClassifierRecipe's defaults.
        encoder: what its pretraining changes of AutoencoderRecipe; None is a random start.
        passes: training steps on top, as many as so many passes over all the images take.
    """

    title: str
    recipe: str
    options: Options = {}
    encoder: Options | None = None
    passes: float = 0


class Question(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Arms that answer one question together.

    One that is closed has none of them: its arms and runs are rows of results/finished.csv.

    Args:
        compare: families of comparisons `<arm> minus <control>`; each family is corrected alone.
        planned: what was known when the question was asked.
        note: what a reader of its table must know.
        screen: comparisons that stand in STUDY.md's first table, too.
    """

    id: str
    sentence: str
    arms: list[str] = []
    budgets: list[float] = []
    seeds: list[int] = []
    compare: list[list[str]] = []
    planned: str = ""
    note: str = ""
    screen: list[str] = []


class Study(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All that is asked of one data set, in the order of the page.

    Args:
        shared: options of every classifier.
        budgets: for each recipe, what it sets at each label budget.
    """

    shared: Options
    arms: dict[str, Arm]
    budgets: dict[str, dict[float, Options]]
    questions: list[Question]
    finished: list[Question] = []

    def __post_init__(self) -> None:
        ids = [question.id for question in (*self.questions, *self.finished)]
        if doubled := {each for each in ids if ids.count(each) > 1}:
            raise ValueError(f"question '{doubled.pop()}' is there twice")
        for question in self.questions:
            self._refuse_unknown(question)

    def _refuse_unknown(self, question: Question) -> None:
        if not (question.arms and question.budgets and question.seeds):
            raise ValueError(f"question '{question.id}' lacks arms, budgets or seeds")
        pairs = [pair for family in question.compare for pair in family]
        if unknown := set(question.screen) - set(pairs):
            raise ValueError(f"question '{question.id}' does not compare '{unknown.pop()}'")
        for arm in (*question.arms, *(arm for pair in pairs for arm in split(pair))):
            if arm not in self.arms:
                raise ValueError(f"question '{question.id}' names '{arm}', which is no arm")
            recipe = self.budgets.get(self.arms[arm].recipe, {})
            if lacking := set(question.budgets) - recipe.keys():
                raise ValueError(
                    f"question '{question.id}' wants label budget {lacking.pop():g}, at which "
                    f"arm '{arm}' has no recipe"
                )

    @property
    def dataset(self) -> str:
        return self.shared.get("dataset", "fashion")

    def title(self, arm: str) -> str:
        """An arm's words; those of results/finished.csv are words already."""
        return self.arms[arm].title if arm in self.arms else arm

    def question(self, question_id: str) -> Question:
        return next(each for each in self.questions if each.id == question_id)

    def setup(self, arm_id: str, budget: float, seed: int = 0) -> Setup:
        """What decides a run's result; the encoder's weights are still unknown."""
        arm = self.arms[arm_id]
        options = self.shared | self.budgets[arm.recipe][budget] | arm.options
        options |= {"epochs": options["epochs"] + round(arm.passes / budget)}
        recipe = ClassifierRecipe(**options, label_fraction=budget, seed=seed)
        if arm.encoder is None:
            return Setup(recipe=recipe)
        shared = {name: getattr(recipe, name) for name in ("dataset", "width", "seed")}
        source = EncoderSource(recipe=AutoencoderRecipe(**shared, **arm.encoder), digest=UNKNOWN)
        return Setup(recipe=recipe, encoder=source)

    def name(self, arm_id: str, budget: float) -> str:
        """The name of an arm's runs at a label budget."""
        return self.setup(arm_id, budget).name

    def plan(self, question: Question) -> pd.DataFrame:
        """The question's cells and comparisons: columns as `PLAN`, arms by id."""

        def row(family: int | None, arm: str, budget: float, control: str = "") -> tuple:
            name = self.name(arm, budget)
            against = (control, self.name(control, budget)) if control else ("", "")
            return question.id, family, arm, budget, name, tuple(question.seeds), *against, TEST

        compared = [
            (k, *split(pair)) for k, family in enumerate(question.compare) for pair in family
        ]
        others = dict.fromkeys(arm for _, *pair in compared for arm in pair)
        arms = [*(arm for arm in others if arm not in question.arms), *question.arms]
        cells = [row(None, arm, budget) for arm in arms for budget in question.budgets]
        pairs = [row(k, a, b, control) for k, a, control in compared for b in question.budgets]
        return pd.DataFrame([*cells, *pairs], columns=PLAN)

    def names(self) -> dict[str, str]:
        """The arm's id of each run name; the first arm where two have the same recipe."""
        found: dict[str, str] = {}
        for question in self.questions:
            for arm in question.arms:
                for budget in question.budgets:
                    found.setdefault(self.name(arm, budget), arm)
        return found


def split(pair: str) -> list[str]:
    """`<arm> minus <control>` as the two ids."""
    return pair.split(MINUS)


def read_study(path: str | Path) -> Study:
    """A study's TOML file.

    Raises:
        UserError: it is missing, is no TOML, or names what is not there.
    """
    try:
        found = tomllib.loads(read_bytes(path).decode())
        return msgspec.convert(found, Study, str_keys=True, strict=False)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError, UnicodeDecodeError) as error:
        raise UserError(f"'{shown(path)}' is not a study ({shown(error)}): correct it") from error


def study_file(dataset: str) -> Path:
    """The study of a data set: the digits have a miniature."""
    name = "digits.toml" if dataset == "digits" else "study.toml"
    return Path(__file__).parents[1] / name
