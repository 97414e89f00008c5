"""The commands in README and docs."""

import re
import runpy
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from latentsync.weights import REPOSITORY_ROOT

DOCUMENTS = ("README.md", "CONTRIBUTING.md", "checkpoints/README.md", "docs/*.md")
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_SHELLS = ("", "bash", "sh", "shell")
_INLINE = re.compile(r"`((?:\./[\w/]+\.sh|python -m [\w.]+|python \w+\.py) ?[^`\n]*(?:\n[^`\n]*)?)`")
_MODULE_OF_SCRIPT = re.compile(r'run_module ([\w.]+) (?:[\w-]+ )?"\$@"')


@dataclass(frozen=True)
class Command:
    """One documented command that starts a program of this repository.

    Attributes:
        document: path of the document, relative to the repository.
        text: the command line.
        program: module (``scripts.inference``) or script (``gradio_app.py``) that it starts.
        arguments: arguments of the program.
        note: the comment at the end of its line, else the nearest comment above it in its block.
    """

    document: str
    text: str
    program: str
    arguments: tuple[str, ...]
    note: str = ""


def documented_commands(root: Path) -> list[Command]:
    """Return all documented commands of this repository's programs in order; repeated commands only once."""
    by_text: dict[str, Command] = {}
    for command in _all_commands(root):
        by_text.setdefault(command.text, command)
    return list(by_text.values())


def _all_commands(root: Path) -> Iterator[Command]:
    for pattern in DOCUMENTS:
        for path in sorted(root.glob(pattern)):
            text = path.read_text(encoding="utf-8")
            inline = ((" ".join(found.split()), "") for found in _INLINE.findall(text))
            for line, note in [*_block_lines(text), *inline]:
                for words in _calls(line):
                    if found := _program(words, root):
                        yield Command(str(path.relative_to(root)), line, *found, note=note)


def name_of(command: Command) -> str:
    """Return the name of a command in test ids."""
    return f"{command.document}: {command.text[:80]}"


def start(program: str) -> None:
    """Run a program in this process, with the current ``sys.argv``."""
    if program.endswith(".py"):
        runpy.run_path(str(REPOSITORY_ROOT / program), run_name="__main__")
    else:
        runpy.run_module(program, run_name="__main__", alter_sys=True)


def _block_lines(text: str) -> Iterator[tuple[str, str]]:
    for block in (block for language, block in _BLOCK.findall(text) if language in _SHELLS):
        variables: dict[str, str] = {}
        above = ""
        for line in block.replace("\\\n", " ").splitlines():
            line = line.strip()
            if line.startswith("#"):
                above = line.lstrip("# ")
            if assignment := re.fullmatch(r'([A-Z]+)="(.*)"', line):
                variables[assignment[1]] = assignment[2]
                continue
            for name, value in variables.items():
                line = line.replace(f"${name} ", f"{value} ")
            if line and not line.startswith("#"):
                command, _, behind = line.partition(" #")
                yield command.strip(), behind.strip() or above


def _calls(line: str) -> Iterator[list[str]]:
    """Yield the simple commands of a shell line; nothing if the line is not valid shell syntax."""
    try:
        words = shlex.split(line, comments=True)
    except ValueError:
        return
    call: list[str] = []
    for word in words:
        if word in ("&&", ";", "||", "|"):
            yield call
            call = []
        else:
            call.append(word)
    yield call


def _program(words: list[str], root: Path) -> tuple[str, tuple[str, ...]] | None:
    """Return the program of this repository that a simple command starts, and its arguments; None for others."""
    words = [word for number, word in enumerate(words) if number or "=" not in word]
    if not words:
        return None
    if words[0].endswith(".sh"):
        script = root / words[0]
        found = _MODULE_OF_SCRIPT.search(script.read_text(encoding="utf-8")) if script.is_file() else None
        return (found[1], tuple(words[1:])) if found else (words[0], tuple(words[1:]))
    if words[0] in ("python", "torchrun", "accelerate") and "-m" in words:
        place = words.index("-m")
        return words[place + 1], tuple(words[place + 2 :])
    if words[0] == "python" and len(words) > 1 and words[1].endswith(".py"):
        return words[1], tuple(words[2:])
    return None
