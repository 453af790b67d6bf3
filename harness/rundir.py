"""A run's folder: what the run was told, its history, its results, and where it stopped."""

import csv
import io
from pathlib import Path
from typing import Annotated, Generic, TypeVar

from filelock import FileLock, Timeout
from msgspec import Meta, Struct
from msgspec.structs import replace

from harness.errors import UserError
from harness.files import read_json, shown, write_atomically, write_json

S = TypeVar("S", bound=Struct)

# What a run may leave in its folder; what makes it finished comes first, what makes it ours last.
ARTEFACTS = (
    "metrics.json",
    "checkpoint.safetensors",
    "history.csv",
    "predictions.npz",
    "reconstructions.npz",
    "model.safetensors",
    "encoder.safetensors",
    "config.json",
)
EVENTS = "events.out.tfevents.*"  # what TensorBoard looks for
LOCK = ".lock"
Count = Annotated[int, Meta(ge=0)]


class Data(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The images that a run was trained and evaluated on."""

    name: str
    digest: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
    train_images: Count
    valid_images: Count
    test_images: Count


class Environment(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the last digits of a run's results may depend on, beside its options."""

    python: str
    torch: str
    torchvision: str
    numpy: str
    scikit_learn: str
    processor: str
    threads: Annotated[int, Meta(ge=1)]
    commit: str
    device: str
    precision: str
    memory_format: str
    compile: bool
    accelerator: str = ""


class Config(Struct, Generic[S], frozen=True, kw_only=True, forbid_unknown_fields=True):
    """config.json: what a run was told, on which images, on which machine."""

    setup: S
    data: Data
    environment: Environment


class Run:
    """One run's folder: new, cut short, or finished; nothing changes there before `start`.

    Args:
        setup: what decides the run's result; it has a `kind`, and `differences(other)`, in words.
        metrics: the schema of metrics.json, whose presence makes a run finished.
        weights: the file of weights that a finished run needs to have beside it, if any.
        overwrite: it is to be a new run, and what is there goes when that starts.

    Raises:
        UserError: the folder holds something else, or a run with other options.
    """

    def __init__(
        self,
        folder: Path,
        setup: Struct,
        metrics: type[Struct],
        weights: str = "",
        overwrite: bool = False,
    ):
        self.folder = folder
        self.setup = setup
        self.metrics = metrics
        self.weights = weights
        self.overwrite = overwrite
        self.tensorboard = False  # whether its curves and pictures are kept for TensorBoard too
        self.checkpoint_path = folder / "checkpoint.safetensors"
        refuse_files(folder)
        if kept := self.kept_config():
            differences = setup.differences(kept.setup)
            if setup.kind != kept.setup.kind or (differences and not overwrite):
                raise UserError(
                    f"'{shown(folder)}' holds a run with other options ({'; '.join(differences)}): "
                    "name another --runs-dir, or start it afresh with --overwrite"
                )

    def kept_config(self) -> Config | None:
        """What the run in the folder was told; None where there is no run.

        Raises:
            UserError: the folder holds something that is not ours.
        """
        if (self.folder / "config.json").exists():
            return read_json(self.folder / "config.json", Config[type(self.setup)])
        for path in sorted(self.folder.glob("*")):
            # A run that was killed before its first file had a name leaves these two.
            if path.name != LOCK and not path.match(".config.json.*.tmp"):
                raise UserError(
                    f"'{shown(self.folder)}' holds {shown(path.name)} but no config.json of a run: "
                    "empty the folder, or name another --runs-dir"
                )
        return None

    @property
    def finished(self) -> bool:
        """Whether its results are there.

        Raises:
            UserError: metrics.json is damaged.
        """
        if self.overwrite or not (self.folder / "metrics.json").exists():
            return False
        read_json(self.folder / "metrics.json", self.metrics)
        return not self.weights or (self.folder / self.weights).exists()

    def start(self, data: Data, environment: Environment) -> None:
        """Take the folder for this process alone; begin the run there afresh, or resume it.

        Raises:
            UserError: another process is at work there, or the run was started on other data.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self.lock = FileLock(self.folder / LOCK, is_singleton=True)  # held once a process
        try:
            self.lock.acquire(timeout=0)  # until this process ends, however it ends
        except Timeout:
            raise UserError(
                f"another process is at work in '{shown(self.folder)}': wait for it, or name "
                "another --runs-dir"
            ) from None
        for name in ARTEFACTS:  # left by a run that was killed while writing
            self._remove(f".{name}.*.tmp")
        if self.overwrite or not self.checkpoint_path.exists():
            # Results that lack their weights go, too: they would make a run finished that is cut.
            self._remove(*ARTEFACTS, EVENTS)
            config = Config(setup=self.setup, data=data, environment=environment)
            write_json(self.folder / "config.json", config)
            return
        kept = self.kept_config()
        if kept.data != data:
            raise UserError(f"'{shown(self.folder)}' was started on other data: use --overwrite")
        if not alike(kept.environment, environment):
            print("note: started in another environment, so the last digits may differ", flush=True)

    def _remove(self, *patterns: str) -> None:
        for pattern in patterns:
            for path in self.folder.glob(pattern):
                path.unlink()

    def write_history(self, rows: list[dict]) -> None:
        """A row for each epoch that was measured, at full precision."""
        text = io.StringIO()
        writer = csv.DictWriter(text, rows[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_atomically(self.folder / "history.csv", text.getvalue().encode())

    def finish(self, metrics: Struct) -> None:
        """Write the last result, after which the run is finished, and free the folder."""
        write_json(self.folder / "metrics.json", metrics)
        self.checkpoint_path.unlink(missing_ok=True)
        self.lock.release()
        print(f"finished: {shown(self.folder)}", flush=True)

    def tidy_up(self) -> None:
        """Remove what a kill at the very end has left, and say that the run is finished."""
        self.checkpoint_path.unlink(missing_ok=True)
        print(f"{shown(self.folder)} is finished; --overwrite starts it afresh", flush=True)


def refuse_files(folder: Path) -> None:
    """Raise UserError where a folder of runs, or one above it, is a file."""
    if file := next((path for path in (folder, *folder.parents) if path.is_file()), None):
        raise UserError(f"'{shown(file)}' is a file, not a folder of runs (--runs-dir)")


def alike(kept: Environment, here: Environment) -> bool:
    """Whether two environments differ in no more than the project's commit."""
    return replace(kept, commit=here.commit) == here
