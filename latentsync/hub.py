"""What the model hub holds: whether it answers, and the address, size and hash of one file."""

import re
import threading
from dataclasses import dataclass

from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, HTTPError, RepositoryNotFoundError
from huggingface_hub.utils import get_session

from latentsync.errors import LatentSyncError

PROBE_SECONDS = 4.0
_SHA256 = re.compile(r"[0-9a-f]{64}")


class HubUnreachableError(LatentSyncError):
    """The hub did not answer, or the connection broke off."""


class MissingOnHubError(LatentSyncError):
    """The hub answers, but does not have a repository or a file, or does not show it to this user."""


class MissingRepositoryError(MissingOnHubError):
    """The hub does not have a whole repository, or does not show it to this user."""


@dataclass(frozen=True)
class RemoteFile:
    """One revision of a file in a repository.

    Attributes:
        url: where it is downloaded from; may redirect to other hosts.
        etag: name of its content: the SHA-256 of a large file, something else for a small one.
        size: bytes, or None where the hub does not say.
    """

    url: str
    etag: str
    size: int | None

    @property
    def sha256(self) -> str | None:
        """Hash of its content (64 hex digits), or None for small files, which the hub names by a hash of git's."""
        return self.etag if _SHA256.fullmatch(self.etag) else None


def hub_answers(repository: str, timeout_s: float = PROBE_SECONDS) -> bool:
    """Whether the hub answers for a repository, be it with a refusal, within `timeout_s` seconds.

    False at once in offline mode. One plain request, in a thread of its own: the hub's client repeats failed requests
    for many seconds, and looking up the name of a host may hang longer than any connection timeout.
    """
    if constants.HF_HUB_OFFLINE:
        return False
    answered: list[bool] = []

    def probe() -> None:
        try:
            response = get_session().head(f"{constants.ENDPOINT}/api/models/{repository}", timeout=timeout_s)
        except (OSError, HTTPError):
            return
        answered.append(response.status_code < 500)

    thread = threading.Thread(target=probe, daemon=True)
    thread.start()
    thread.join(timeout_s)
    return answered == [True]


def look_up(repository: str, name: str) -> RemoteFile:
    """Asks the hub for the newest revision of a file.

    Raises:
        MissingOnHubError: the repository or the file is not there.
        HubUnreachableError: the hub refused, did not answer, or what answered is not the hub.
    """
    try:
        found = get_hf_file_metadata(hf_hub_url(repository, name))
    except RepositoryNotFoundError as error:
        message = f"{constants.ENDPOINT} has no repository {repository}, or does not show it"
        raise MissingRepositoryError(message) from error
    except EntryNotFoundError as error:
        raise MissingOnHubError(f"{repository} on {constants.ENDPOINT} has no file {name}") from error
    except (OSError, HTTPError) as error:
        if isinstance(error, HfHubHTTPError) and error.response.status_code == 404:
            raise MissingOnHubError(f"{constants.ENDPOINT} has no {name} of {repository}") from error
        raise HubUnreachableError(f"looking up {name} of {repository} failed: {first_line(error)}") from error
    if found.commit_hash is None or found.etag is None:
        raise HubUnreachableError(
            f"what answers at {constants.ENDPOINT} is no model hub: check HF_ENDPOINT and proxies"
        )
    url = hf_hub_url(repository, name, revision=found.commit_hash)
    return RemoteFile(url=url, etag=found.etag, size=found.size)


def first_line(error: Exception) -> str:
    """What an error says, in one line."""
    return str(error).strip().partition("\n")[0].strip() or type(error).__name__
