"""Every command of README and docs is understood by the program it calls.

tests/e2e/test_documented_commands_run.py runs them.
"""

import argparse
import importlib.util
import re
import sys
from pathlib import Path

import pytest

from latentsync.weights import REPOSITORY_ROOT
from tests.documented_commands import documented_commands, name_of, start

COMMANDS = documented_commands(REPOSITORY_ROOT)
NO_PARSER = {"setup_env.sh", "./setup_env.sh", "pip"}
"""Scripts that read their own arguments, which .ci/run and tests/e2e/test_setup_env.py run, and pip."""


class Understood(Exception):
    """The program's parser took the arguments."""


@pytest.fixture
def stop_after_parsing(monkeypatch):
    def stop(self, file=None):
        raise Understood

    monkeypatch.setattr(argparse.ArgumentParser, "print_help", stop)  # --help exits while parsing
    for method in ("parse_args", "parse_intermixed_args"):
        parse = getattr(argparse.ArgumentParser, method)

        def parse_and_stop(self, args=None, namespace=None, parse=parse):
            parse(self, args, namespace)
            raise Understood

        monkeypatch.setattr(argparse.ArgumentParser, method, parse_and_stop)


def test_the_documents_have_commands():
    assert {"scripts.inference", "scripts.train_unet", "scripts.train_syncnet"} <= {c.program for c in COMMANDS}


@pytest.mark.filterwarnings("ignore:.*found in sys.modules")
@pytest.mark.parametrize("command", COMMANDS, ids=name_of)
def test_the_program_understands_it(command, stop_after_parsing, monkeypatch):
    monkeypatch.chdir(REPOSITORY_ROOT)
    monkeypatch.setattr(sys, "argv", [command.program, *command.arguments])
    assert exists(command.program), f"there is no {command.program}"
    if command.program in NO_PARSER or not command.arguments:
        return
    with pytest.raises(Understood):
        start(command.program)


def exists(program: str) -> bool:
    if program.endswith((".py", ".sh")):
        return (REPOSITORY_ROOT / program).is_file()
    return importlib.util.find_spec(program) is not None


def test_named_files_of_the_repository_are_there():
    missing = [
        f"{command.document}: {argument}"
        for command in COMMANDS
        for argument in command.arguments
        if argument.startswith(("configs/", "assets/"))
        and "*" not in argument
        and "|" not in argument
        and not (REPOSITORY_ROOT / Path(argument)).exists()
    ]
    assert missing == []


def test_tests_that_documents_name_are_there():
    documents = [REPOSITORY_ROOT / "README.md", *REPOSITORY_ROOT.glob("*.md"), *REPOSITORY_ROOT.glob("docs/*.md")]
    named = {(path.name, name) for path in documents for name in re.findall(r"`(tests/[\w./-]+)`", path.read_text())}
    assert len(named) > 30
    assert [pair for pair in sorted(named) if not (REPOSITORY_ROOT / pair[1]).exists()] == []
