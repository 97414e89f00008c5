"""The order of the packages: contracts of import-linter in pyproject.toml."""

import subprocess
import sys
from pathlib import Path


def test_imports_point_downwards_only(repository: Path) -> None:
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as run; run()"]
    result = subprocess.run([*command, "--no-cache", "--no-logo"], cwd=repository, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
