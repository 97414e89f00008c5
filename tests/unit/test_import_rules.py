"""The order of the packages: contracts of import-linter in pyproject.toml, as README and architecture.md print them."""

import ast
import re
import subprocess
import sys
from pathlib import Path

Layers = list[set[str]]


def layers_of_contracts(repository: Path) -> tuple[Layers, Layers]:
    """Return the layers of all packages and those of the library, the highest first."""
    text = (repository / "pyproject.toml").read_text(encoding="utf-8")
    packages, library = (ast.literal_eval(found) for found in re.findall(r"^layers = (\[.*?^\])", text, re.M | re.S))
    return _split(packages), _split(library)


def _split(layers: list[str]) -> Layers:
    return [set(re.split(r" [|:] ", layer)) for layer in layers]


def test_imports_point_downwards_only(repository: Path) -> None:
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as run; run()"]
    result = subprocess.run([*command, "--no-cache", "--no-logo"], cwd=repository, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_architecture_document_prints_the_order(repository: Path) -> None:
    text = (repository / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \| ([^|]+) \|", text, re.MULTILINE)
    assert [int(number) for number, _ in rows] == sorted(range(2, len(rows) + 2), reverse=True)
    printed = [
        {name.removesuffix("/").removesuffix(".py").replace("/", ".") for name in re.findall(r"`([^`]+)`", names)}
        for _, names in rows
    ]
    packages, library = layers_of_contracts(repository)
    assert printed == [*packages[:-1], *library]


def test_the_readme_lists_the_library_in_the_order(repository: Path) -> None:
    text = (repository / "README.md").read_text(encoding="utf-8")
    tree = text[text.index("\nlatentsync/ ") : text.index("\ndemo/ ")]
    listed = [name.removesuffix("/").removesuffix(".py") for name in re.findall(r"^  ([\w.]+/?) ", tree, re.MULTILINE)]
    _, library = layers_of_contracts(repository)
    order = [next(number for number, layer in enumerate(library) if name in layer) for name in listed]
    assert order == sorted(order)
    assert set(listed) == set.union(*library)
