"""API keys from a file: one client a line, ``name key``, with its limits behind."""

import hmac
import re
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path

from latentsync.errors import InputError
from latentsync.storage.private_file import read_private_text

_MAX_FILE_BYTES = 1 << 20
_MIN_KEY_LENGTH = 16
_NAME = re.compile(r"[\w.@-]{1,64}")
_KEY = re.compile(r"[!-~]+")
_LIMIT = re.compile(r"(max_queued|max_per_hour)=([1-9]\d{0,8})")
_REMEDY = "write lines like: anna 0123456789abcdef0123 max_queued=20 max_per_hour=200"


@dataclass(frozen=True)
class ApiClient:
    """Who sends requests.

    Attributes:
        name: owner of its jobs; empty on a server without keys.
        key: its secret.
        max_queued: jobs that may wait, run or be uploaded at a time.
        max_per_hour: jobs of the last 60 minutes.
    """

    name: str
    key: str = field(repr=False)
    max_queued: int = 20
    max_per_hour: int = 200


class ApiKeys:
    """The clients that may use the server.

    Args:
        clients: with different names and keys.
    """

    def __init__(self, clients: tuple[ApiClient, ...]) -> None:
        self._by_name = {client.name: client for client in clients}
        self._digests = [(_digest(client.key), client) for client in clients]

    @classmethod
    def read(cls, path: Path) -> "ApiKeys":
        """Read a file of keys; empty lines and lines that start with ``#`` are skipped.

        Raises:
            InputError: the file cannot be read, or a line is invalid; the message names the line, not its content.
        """
        clients: list[ApiClient] = []
        text = read_private_text(path, _MAX_FILE_BYTES, _REMEDY, only_owner=False)
        for number, line in enumerate(text.splitlines(), 1):
            if line.strip() and not line.lstrip().startswith("#"):
                clients.append(_parse(line.split(), f"line {number} of {path}"))
        for what, values in {"name": [each.name for each in clients], "key": [each.key for each in clients]}.items():
            if len(set(values)) < len(values):
                raise InputError(f"{path} has two clients with the same {what}: remove one")
        if not clients:
            raise InputError(f"{path} has no keys: {_REMEDY}")
        return cls(tuple(clients))

    def find(self, key: str) -> ApiClient | None:
        """Return the client with a key, or None; the time does not depend on the keys."""
        digest, found = _digest(key), None
        for known, client in self._digests:
            if hmac.compare_digest(known, digest):
                found = client
        return found

    def named(self, name: str) -> ApiClient | None:
        """Return the client of a name, or None."""
        return self._by_name.get(name)


def _digest(key: str) -> bytes:
    return sha256(key.encode("utf-8", "surrogateescape")).digest()


def _parse(words: list[str], where: str) -> ApiClient:
    if len(words) < 2 or not _NAME.fullmatch(words[0]) or not _KEY.fullmatch(words[1]):
        raise InputError(f"{where} is not a name and a key: {_REMEDY}")
    if len(words[1]) < _MIN_KEY_LENGTH:
        raise InputError(f"{where} has a key of less than {_MIN_KEY_LENGTH} characters: openssl rand -hex 24 makes one")
    client = ApiClient(words[0], words[1])
    for word in words[2:]:
        match = _LIMIT.fullmatch(word)
        if match is None:
            raise InputError(f"{where} has an unknown limit: {_REMEDY}")
        client = replace(client, **{match[1]: int(match[2])})
    return client
