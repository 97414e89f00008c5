"""User and password that visitors are asked for: from a file or the environment, since everybody can list processes."""

import os
import stat
from collections.abc import MutableMapping
from pathlib import Path

from latentsync.errors import InputError

VARIABLE = "LATENTSYNC_AUTH"
TWO_WAYS = f"write user:password into a file for --auth_file, or into the environment variable {VARIABLE}"

_LARGEST_BYTES = 4096


def credentials(auth_file: Path | None, environment: MutableMapping[str, str] = os.environ) -> tuple[str, str] | None:
    """User and password, or None where nobody shall be asked for them.

    Args:
        auth_file: one line ``user:password``; where it is given, the environment is not looked at.
        environment: `VARIABLE` is taken out of it, so that no program that the app starts inherits it.

    Raises:
        InputError: the file cannot be used or may be read by others, or there is no user or no password in it.
    """
    text = environment.pop(VARIABLE, None)
    if auth_file is not None:
        return parse_credentials(_read_line(auth_file), str(auth_file))
    return None if text is None else parse_credentials(text, VARIABLE)


def parse_credentials(text: str, source: str) -> tuple[str, str]:
    """User and password of ``user:password``; the password may have colons in it.

    Raises:
        InputError: one of them is missing, or there is more than one line; it names the `source` and not the text.
    """
    user, _, password = text.partition(":")
    if not user.strip() or not password or not text.isprintable():
        raise InputError(f"{source} must hold user:password in one line, both not empty")
    return user.strip(), password  # gradio strips the user that is typed in


def _read_line(path: Path) -> str:
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with open(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise InputError(f"{path} is no plain file: {TWO_WAYS}")
            if os.name == "posix" and status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
                raise InputError(f"{path} may be read or changed by other users: chmod 600 {path}")
            content = file.read(_LARGEST_BYTES + 1)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): {TWO_WAYS}") from error
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text: {TWO_WAYS}") from error
    if len(content) > _LARGEST_BYTES:
        raise InputError(f"{path} is longer than {_LARGEST_BYTES} bytes: {TWO_WAYS}")
    return text.removeprefix("\ufeff").rstrip("\r\n")
