"""What the study compares: arms beside other arms at a label budget, judged family by family."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import chain

from metrics import MIN_PAIRS, Judged, equivalence_p, holm, verdict
from report.pairs import Pairs
from report.runs import FinishedRun, Runs
from studies.cells import EVERY_SEED, Arm, Block, Cell, Family, Study
from studies.grid import STUDIES


@dataclass(frozen=True, eq=False)
class Compared:
    """An arm less another at one label budget, over the seeds that both have.

    Args:
        judged: corrected for the comparison's family.
        is_tested: whether there are pairs enough; where not, `judged` says undecided.
        planned: pairs that the study is to have.
    """

    arm: Arm
    control: Arm
    budget: float
    pairs: Pairs
    judged: Judged
    is_tested: bool
    planned: int

    @property
    def scratch(self) -> list[float]:
        """The control's test accuracies, in [0, 1]."""
        return self.pairs.values()[0]

    @property
    def pretrained(self) -> list[float]:
        """The arm's, which is the pretrained one in the tables that ask for this."""
        return self.pairs.values()[1]

    @property
    def differences(self) -> list[float]:
        return differences_of(self.pairs)

    @property
    def labels(self) -> int:
        """The images that a network learns from."""
        return self.pairs.control[0].config.data.train_images

    @property
    def of_two_machines(self) -> int:
        """How many pairs of classifiers are not of one kind of machine and one number format."""
        both = zip(self.pairs.control, self.pairs.treated, strict=True)
        return sum(machine(a) != machine(b) for a, b in both)

    @property
    def epochs(self) -> str:
        """Of the classifier: one number where both arms have the same."""
        runs = (self.pairs.control[0], self.pairs.treated[0])
        return " / ".join(dict.fromkeys(str(run.setup.recipe.epochs) for run in runs))


def machine(run: FinishedRun) -> tuple[str, str]:
    """What computed it, and in which number format."""
    environment = run.config.environment
    return environment.machine, environment.precision


def study_of(runs: Runs) -> Study:
    """The study whose data set these runs are on."""
    names = {run.config.data.name for run in chain.from_iterable(runs.values())}
    return STUDIES["digits" if names == {"digits"} else "fashion"]


def runs_of(runs: Runs, cell: Cell) -> list[FinishedRun]:
    """The cell's finished runs, in order of seed."""
    return [run for run in runs.get(cell.name, []) if run.seed in cell.seeds]


def shared_seeds(found: Iterable[list[FinishedRun]]) -> set[int]:
    """The seeds that all of these lists have which have any."""
    seeds = [{run.seed for run in each} for each in found if each]
    return set.intersection(*seeds) if seeds else set()


def shared_runs(runs: Runs, cells: Iterable[Cell]) -> list[list[FinishedRun]]:
    """Each cell's runs of the seeds that all have which have any: means of these can be compared.

    Each cell's own runs where no seed is shared.
    """
    found = [runs_of(runs, cell) for cell in cells]
    shared = shared_seeds(found)
    if not shared:
        return found
    return [[run for run in of_cell if run.seed in shared] for of_cell in found]


def compare(runs: Runs, block: Block, family: Family, fewest: int = 0) -> list[Compared]:
    """The comparisons of one family for which there are pairs.

    One is tested once it is complete, so that nobody can stop where it looks well. Until then it
    counts in Holm's correction as if it had p = 1, those without a pair included.

    Args:
        fewest: pairs that a comparison must have to be tested; all that are planned where 0. With
            fewer than MIN_PAIRS planned, it is shown only.
    """
    found, size = [], 0
    for arm, control in family:
        for budget in block.budgets:
            cells = [block.cell(each, budget) for each in (control, arm)]
            both = [runs_of(runs, cell) for cell in cells]
            pairs = Pairs.of(*([run for run in each if run.metrics.test] for each in both))
            planned = min(len(cell.seeds) for cell in cells)
            size += planned >= MIN_PAIRS and is_planned(block, (arm, control), budget)
            is_tested = len(pairs) >= (fewest or max(planned, MIN_PAIRS))
            if len(pairs):
                found.append((arm, control, budget, pairs, is_tested, planned))
    judged = judge([(pairs, is_tested) for *_, pairs, is_tested, _ in found], size)
    return [
        Compared(*each, judgement, is_tested, planned)
        for (*each, is_tested, planned), judgement in zip(found, judged, strict=True)
    ]


def compare_machines(runs: Runs, repeated: Runs, block: Block) -> list[Compared]:
    """The block's cells as another machine trained them, less the cells themselves.

    Args:
        repeated: runs of these cells; what counts has the options and the encoder of one of `runs`.
    """
    found = []
    for cell in block.cells:
        both = [
            (run, again)
            for run in runs_of(runs, cell)
            for again in runs_of(repeated, cell)
            if again.setup == run.setup and machine(again) != machine(run)
        ]
        if both:
            pairs = Pairs.of(*map(list, zip(*both, strict=True)))
            found.append((cell, pairs, len(pairs) >= max(len(cell.seeds), MIN_PAIRS)))
    judged = judge([each for _, *each in found], len(found))
    return [
        Compared(cell.arm, cell.arm, cell.budget, pairs, judgement, is_tested, len(cell.seeds))
        for (cell, pairs, is_tested), judgement in zip(found, judged, strict=True)
    ]


def is_planned(block: Block, pair: tuple[Arm, Arm], budget: float) -> bool:
    """Whether the block is to compare two arms there: those that are its own have cells there."""
    own = {cell.arm for cell in block.cells}.intersection(pair)
    there = {cell.arm for cell in block.cells if cell.budget == budget}
    return bool(own) and own <= there


def differences_of(pairs: Pairs) -> list[float]:
    """In test accuracy, by seed."""
    return [b - a for a, b in zip(*pairs.values(), strict=True)]


def judge(family: list[tuple[Pairs, bool]], size: int) -> list[Judged]:
    """Each comparison's verdict on test accuracy, corrected for a family of this size.

    Args:
        family: pairs, and whether they are to be tested.
    """
    ready = [pairs for pairs, is_tested in family if is_tested]
    missing = [1.0] * max(0, size - len(ready))
    raw = [pairs.difference().p for pairs in ready]
    within = [equivalence_p(differences_of(pairs)) for pairs in ready]
    corrected = zip(holm(raw + missing), holm(within + missing), strict=True)
    judged = []
    for pairs, is_tested in family:
        difference = pairs.difference()
        p, q = next(corrected) if is_tested else (1.0, 1.0)
        says = verdict(difference, p, q) if is_tested else "undecided"
        judged.append(Judged(difference=difference, p=p, equivalence_p=q, verdict=says))
    return judged


@dataclass(frozen=True, eq=False)
class Main:
    """The comparison that answers the question: pretrained less from scratch, by label budget.

    Args:
        other_seeds: whether its pairs are of seeds that are not the protocol's.
    """

    rows: list[Compared]
    other_seeds: bool
    block: Block


def main_comparison(runs: Runs) -> Main:
    """The protocol's primary family; over whatever seeds there are, if none is the protocol's."""
    study = study_of(runs)
    primary = study.blocks[0]
    any_seeds = tuple(replace(cell, seeds=EVERY_SEED) for cell in primary.cells)
    for block in (primary, replace(primary, cells=any_seeds)):
        rows = compare(runs, block, block.families[0], fewest=len(study.seeds))
        if rows:
            return Main(rows, block is not primary, block)
    return Main([], False, primary)
