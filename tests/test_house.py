"""The house: what may import what, what lies at top level, how long a function may be."""

import ast
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPTS = {"train_baseline", "pretrain_autoencoder", "train_pretrained", "study", "benchmark"}
SCRIPTS |= {"predict", "export", "plot"}
FOLDERS = {"harness", "report", "benchmarks", "pictures"}
# The experiment, from what is used to what uses it: each imports only what stands before it.
EXPERIMENT = [{"harness"}, {"data", "recipes", "models", "metrics"}]
EXPERIMENT += [{"batches"}, {"training"}, {"autoencoding"}, {"classification"}]
ALL_OF_IT = set.union(*EXPERIMENT)
MAY_IMPORT = {
    name: set().union(*EXPERIMENT[:level])
    for level, names in enumerate(EXPERIMENT)
    for name in names
} | {
    "report": {"harness", "data", "recipes", "metrics"},
    # The table that it fills, and the tasks that it times.
    "benchmarks": ALL_OF_IT | {"report", "train_baseline", "pretrain_autoencoder"},
    "pictures": ALL_OF_IT,
    **dict.fromkeys(SCRIPTS, ALL_OF_IT),
    "train_pretrained": ALL_OF_IT | {"train_baseline"},  # the same training
    "study": ALL_OF_IT | {"report", "study"},  # which its workers look up
    "benchmark": ALL_OF_IT | {"report", "benchmarks"},
    "predict": ALL_OF_IT | {"pictures"},
    "plot": {"harness", "recipes", "report"},
}
TOP = sorted(ROOT.glob("*.py"))
SOURCES = sorted([*TOP, *(path for folder in FOLDERS for path in (ROOT / folder).glob("**/*.py"))])


def owner(path: Path) -> str:
    """The folder or top-level module that a file belongs to."""
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    """The top-level names that a file imports, also within its functions."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_run_one_way(path):
    here = owner(path)
    ours = {*MAY_IMPORT, *(found.stem for found in TOP)}
    allowed = MAY_IMPORT[here] | ({here} & FOLDERS)
    assert imported(path) & ours <= allowed


def test_no_name_hides_an_installed_package():
    names = {path.stem for path in TOP} | FOLDERS
    assert not names & (set(packages_distributions()) | sys.stdlib_module_names)


def test_few_files_lie_at_top_level():
    assert len(TOP) <= 16


@pytest.mark.parametrize("folder", sorted(FOLDERS))
def test_a_folder_begins_with_a_docstring_alone(folder):
    module = ast.parse((ROOT / folder / "__init__.py").read_text())
    assert ast.get_docstring(module)
    assert len(module.body) == 1


def test_functions_fit_on_a_screen():
    long = [
        f"{path.relative_to(ROOT)}: {node.name}"
        for path in (*SOURCES, *(ROOT / "tests").glob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno - node.lineno >= 50
    ]
    assert long == []


def test_readme_is_short_and_its_first_command_comes_soon():
    text = (ROOT / "README.md").read_text()
    before, _, _ = text.partition("```")
    prose = [line for line in before.splitlines() if not line.startswith("|")]
    assert sum(len(line.split()) for line in prose) <= 250
    assert not [line for line in text.splitlines() if len(line) > 160 and not line.startswith("|")]
