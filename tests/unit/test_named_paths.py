"""Paths in documents, docstrings and comments exist, and default paths do not depend on the working folder."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from latentsync.weights import REPOSITORY_ROOT
from tests.repository_copy import FOLDERS

PATH = re.compile(
    r"(?<![\w/.~{$-])((?:latentsync|preprocess|eval|configs|scripts|tests|benchmarks|docs|assets|checkpoints/demo|\.ci)"
    r"/[\w./*-]*\w)\b(?![<{])"
)
"""Path of a file or folder of the repository, relative to its root; `*` matches any name."""
DOCUMENT = re.compile(r"(?<![\w/.-])([A-Z][A-Z_]+\.md)\b")
"""Name of a document in a root folder, in capitals."""
COMMENT = re.compile(r"(?:^|(?<=\s))#.*", re.MULTILINE)
CLASS = re.compile(r"(?<!`)`([A-Z][a-z]\w*[A-Z]\w*)(?:\.\w+)?`(?!`)")
"""Name of two words or more in single backticks, as docstrings name classes."""


def texts() -> list[Path]:
    """Yield all files with text, relative to the repository's root."""
    places = [REPOSITORY_ROOT, *(REPOSITORY_ROOT / name for name in FOLDERS)]
    kinds = ("*.py", "*.md", "*.yaml", "*.sh", "*.toml")
    found = {path for kind in kinds for path in REPOSITORY_ROOT.glob(kind)}
    found |= {path for place in places[1:] for kind in kinds for path in place.rglob(kind)}
    return sorted(path.relative_to(REPOSITORY_ROOT) for path in [*found, REPOSITORY_ROOT / "checkpoints/README.md"])


@cache
def source(path: Path) -> str:
    return (REPOSITORY_ROOT / path).read_text(encoding="utf-8")


@cache
def nodes(path: Path) -> list[ast.AST]:
    """Return all nodes of a Python file's syntax tree."""
    return list(ast.walk(ast.parse(source(path))))


@cache
def prose(path: Path) -> str:
    """Return the text of a document, or the docstrings and comments of a program."""
    text = source(path)
    if path.suffix == ".md":
        return text
    if path.suffix == ".py":
        return "\n".join([*docstrings(path), *COMMENT.findall(text)])
    return "\n".join(line for line in text.splitlines() if line.lstrip().startswith("#"))


def docstrings(path: Path) -> Iterator[str]:
    """Yield docstrings, those of constants too."""
    for node in nodes(path):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.value.value


def is_there(name: str, named_by: Path) -> bool:
    folders = (REPOSITORY_ROOT, (REPOSITORY_ROOT / named_by).parent)
    name = name.rstrip(".")
    if "*" in name:
        return any(next(folder.glob(name), None) is not None for folder in folders)
    return any((folder / name).exists() for folder in folders)


def missing_paths(text: str, named_by: Path) -> list[str]:
    names = [*PATH.findall(text), *DOCUMENT.findall(text)]
    return [name for name in names if not is_there(name, named_by)]


def test_named_files_are_there():
    assert [f"{path}: {name}" for path in texts() for name in missing_paths(prose(path), path)] == []


def test_named_classes_are_there():
    words = {
        node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else node.name
        for path in texts()
        if path.suffix == ".py"
        for node in nodes(path)
        if isinstance(node, ast.Name | ast.Attribute | ast.ClassDef | ast.FunctionDef)
    }
    named = {(str(path), name) for path in texts() for name in CLASS.findall(prose(path))}
    assert sorted((path, name) for path, name in named if name not in words) == []


def relative_defaults(tree: list[ast.AST]) -> Iterator[str]:
    """Yield files of the repository that a default of a parameter or option names relative to the working folder."""
    for node in tree:
        defaults: list[ast.expr | None] = []
        if isinstance(node, ast.arguments):
            defaults = [*node.defaults, *node.kw_defaults]
        elif isinstance(node, ast.keyword) and node.arg == "default":
            defaults = [node.value]
        for value in filter(None, defaults):
            if isinstance(value, ast.Call) and value.args:  # Path("...")
                value = value.args[0]
            if isinstance(value, ast.Constant) and str(value.value).startswith(("checkpoints/", "configs/", "assets/")):
                yield value.value


def test_no_default_depends_on_the_working_folder():
    programs = [path for path in texts() if path.suffix == ".py" and path.parts[0] != "tests"]
    assert [f"{path}: {name}" for path in programs for name in relative_defaults(nodes(path))] == []


@pytest.mark.parametrize(
    "code",
    [
        'def build(folder="checkpoints/auxiliary"): ...',
        'def build(*, folder: Path = Path("checkpoints/auxiliary")): ...',
        'parser.add_argument("--config", default=Path("configs/demo/unet.yaml"))',
    ],
)
def test_a_relative_default_is_found(code: str):
    assert len(list(relative_defaults(list(ast.walk(ast.parse(code)))))) == 1


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("see configs/unet/stage2.yaml and tests/unit.", []),
        ("every `configs/unet/*.yaml`", []),
        ("as tests/unit/test_nothing.py does", ["tests/unit/test_nothing.py"]),
        ("(OTHER_NOTES.md, thresholds) but README.md", ["OTHER_NOTES.md"]),
        ("runs/eval/records/x.json is a result", []),
    ],
)
def test_missing_names_are_found(text: str, missing: list[str]):
    assert missing_paths(text, Path("README.md")) == missing
