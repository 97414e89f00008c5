"""Settings of the service."""

import math
import os
import socket
from dataclasses import dataclass
from pathlib import Path

from latentsync.errors import ConfigError, InputError
from latentsync.jobs.folders import JobFolders
from latentsync.server.access import is_local_host
from latentsync.server.api_keys import ApiKeys
from latentsync.server.input_roots import InputRoots
from latentsync.server.outbound import Outbound

PROGRAM = "server"
_BYTES_PER_GB = 1e9


@dataclass(frozen=True)
class ServiceSettings:
    """Settings of the service.

    Attributes:
        work_dir: any folder of the user; job files are stored in a subfolder.
        host: address to listen on.
        port: 0 selects a free port.
        keys: file of API keys; None: only this machine can connect, without a key.
        allow_hosts: hosts that inputs are fetched from and webhooks are sent to.
        input_roots: folders of inputs that requests can name by their path.
        keep_hours: age at which the files of ended jobs are removed.
        keep_gb: size of the files of ended jobs above which the oldest ones are removed, in 1e9 bytes.
        max_queued: maximum number of waiting jobs.

    Raises:
        ConfigError: a value is out of range.
    """

    work_dir: Path
    host: str = "127.0.0.1"
    port: int = 8600
    keys: Path | None = None
    allow_hosts: tuple[str, ...] = ()
    input_roots: tuple[Path, ...] = ()
    keep_hours: float = 24.0
    keep_gb: float = 20.0
    max_queued: int = 100

    def __post_init__(self) -> None:
        if not 0 <= self.port < 65536:
            raise ConfigError(f"port is {self.port}: it must be between 0 and 65535")
        if not 1 <= self.max_queued <= 100_000:
            raise ConfigError(f"max_queued is {self.max_queued}: it must be between 1 and 100000")
        if not 0 < self.keep_gb < math.inf:
            raise ConfigError(f"keep_gb is {self.keep_gb}: it must be positive")
        if self.keys is None and not is_local_host(self.host):
            raise ConfigError(f"host is {self.host}, which other machines can reach: name a file of --keys")

    def folders(self) -> JobFolders:
        """Return the folders of the jobs, which are not opened yet."""
        return JobFolders(self.work_dir, self.keep_hours, self.keep_gb * _BYTES_PER_GB, PROGRAM)

    def read_keys(self) -> ApiKeys | None:
        """Read the keys. Raises InputError if the file cannot be used."""
        return None if self.keys is None else ApiKeys.read(self.keys)

    def outbound(self) -> Outbound:
        """Return what sends requests. Raises InputError for an invalid host."""
        return Outbound(self.allow_hosts)

    def roots(self) -> InputRoots:
        """Return the folders of inputs. Raises InputError if one is missing."""
        return InputRoots(self.input_roots)

    def check(self) -> None:
        """Check keys, hosts, roots and work folder before any network is loaded; leave nothing behind.

        Raises:
            InputError: one of them cannot be used.
        """
        self.read_keys()
        self.outbound()
        self.roots()
        self.folders().check_unused()

    def bind(self) -> socket.socket:
        """Return a socket that is bound to the address.

        Raises:
            InputError: the address cannot be used.
        """
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        bound = socket.socket(family)
        try:
            if os.name == "posix":  # elsewhere it would let two programs listen on one port
                bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind((self.host, self.port))
        except OSError as error:
            bound.close()
            raise InputError(
                f"cannot listen on {self.host}, port {self.port}: choose another --host or --port"
            ) from error
        return bound
