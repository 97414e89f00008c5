"""Downloads from the model hub that give up quickly where it cannot be reached."""

import errno
import threading
from pathlib import Path

from huggingface_hub import constants, hf_hub_download
from huggingface_hub.errors import HTTPError
from huggingface_hub.utils import get_session

from latentsync.errors import InputError, LatentSyncError
from latentsync.weights import CHECKPOINTS, WeightFile

PROBE_SECONDS = 4.0
_LOCAL_FAULTS = {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR}


class HubUnreachableError(LatentSyncError):
    """The hub did not answer, or the connection broke off."""


def hub_answers(repository: str, timeout_s: float = PROBE_SECONDS) -> bool:
    """Whether the hub answers for a repository within `timeout_s` seconds; False at once in offline mode.

    One plain request, in a thread of its own: the hub's client repeats failed requests for many seconds, and looking
    up the name of a host may hang longer than any connection timeout.
    """
    if constants.HF_HUB_OFFLINE:
        return False
    answered: list[bool] = []

    def probe() -> None:
        try:
            response = get_session().head(f"{constants.ENDPOINT}/api/models/{repository}", timeout=timeout_s)
        except (OSError, HTTPError):
            return
        answered.append(response.status_code < 400)

    thread = threading.Thread(target=probe, daemon=True)
    thread.start()
    thread.join(timeout_s)
    return answered == [True]


def download(file: WeightFile, checkpoints: Path = CHECKPOINTS) -> Path:
    """Brings one published file into the checkpoints folder; it appears whole or not at all.

    A download that broke off goes on where it stopped.

    Raises:
        HubUnreachableError: the hub refused or the connection broke.
        InputError: the file cannot be written.
    """
    name = file.hub_name or file.path
    folder = checkpoints / file.path.removesuffix(name)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return Path(hf_hub_download(file.repository, name, local_dir=folder))
    except (OSError, HTTPError) as error:
        if isinstance(error, OSError) and error.errno in _LOCAL_FAULTS:
            raise InputError(f"cannot write {checkpoints / file.path}: {error.strerror}") from error
        reason = str(error).strip().partition("\n")[0]
        raise HubUnreachableError(f"downloading {file.path} from {file.repository} failed: {reason}") from error
