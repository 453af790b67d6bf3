"""What lies beside the networks' runs: baselines without a network, probes, runs made twice.

The first two come as one file each in the folder of runs, the last as a folder, where it is there.
"""

from pathlib import Path
from typing import Annotated, NamedTuple

from msgspec import Meta, Struct

from harness.files import read_json
from metrics import Share
from report.runs import Runs, find_runs

CLASSICAL, PROBES = "classical.json", "probes.json"
REPEATED = "repeated"  # the folder of runs that another machine made, too
# Of what is probed: an encoder's stages, and three encoders' names.
STAGES = ("28x28", "14x14", "7x7")
RANDOM, MASKED, TRAINED = "random", "masked, normalised + HOG", "trained on all labels"
TSNE_FILE = "tsne.npz"  # positions by encoder (n, 2), labels (n,)
Name = Annotated[str, Meta(min_length=1, max_length=100)]
BySeed = Annotated[dict[int, Share], Meta(min_length=1)]
Budget = Annotated[float, Meta(gt=0, le=1)]


class Classical(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One baseline without a network at one label budget, on the splits of the study's seeds.

    Args:
        test_accuracy: by seed, in [0, 1].
        core_seconds: of fitting and predicting, the mean over seeds.
        settings_of: the label budget that its setting was chosen at; None: its own.
    """

    name: Name
    label_fraction: Budget
    test_accuracy: BySeed
    core_seconds: Annotated[float, Meta(ge=0)]
    settings_of: Budget | None = None


class Probe(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How well one stage's maps of one encoder tell the classes apart, by a simple classifier.

    Args:
        probe: the classifier, such as `linear probe` or `k-NN`.
        test_accuracy: by seed, in [0, 1].
    """

    encoder: Name
    stage: Name
    probe: Name
    label_fraction: Budget
    test_accuracy: BySeed


class Extra(NamedTuple):
    """All that is measured beside the runs."""

    classical: tuple[Classical, ...] = ()
    probes: tuple[Probe, ...] = ()
    has_tsne: bool = False


def extra_of(runs: Runs) -> Extra:
    """What lies beside these runs, in their folder.

    Raises:
        UserError: a file is not what it should be.
    """
    folder = _folder_of(runs)
    return read_extra(folder) if folder else Extra()


def repeated_of(runs: Runs) -> Runs:
    """Those of these runs that another machine made, too, as that one made them.

    Raises:
        UserError: a run is not what it should be.
    """
    folder = _folder_of(runs)
    return find_runs(folder / REPEATED) if folder else {}


def _folder_of(runs: Runs) -> Path | None:
    first = next((found[0] for found in runs.values()), None)
    return first and first.folder.parent.parent


def read_extra(runs_dir: str | Path) -> Extra:
    """What the folder of runs holds of it.

    Raises:
        UserError: a file is not what it should be.
    """
    found = [
        read_json(path, tuple[kind, ...]) if (path := Path(runs_dir) / name).exists() else ()
        for name, kind in ((CLASSICAL, Classical), (PROBES, Probe))
    ]
    return Extra(*found, has_tsne=(Path(runs_dir) / TSNE_FILE).exists())
