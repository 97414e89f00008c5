"""Requests of the server to other hosts: only to hosts on the allow-list, and never to private addresses.

The name is resolved once, and the connection goes to the address that was checked, so that a name that changes its
address meanwhile (DNS rebinding) leads nowhere else. Redirects are not followed, proxies of the environment not used.
"""

import ipaddress
import re
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx

from latentsync.errors import InputError

_PORTS = {"http": 80, "https": 443}
_ENTRY = re.compile(r"[A-Za-z0-9.-]{1,253}(:\d{1,5})?")
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_MAX_URL = 2000

Resolve = Callable[[str, int], Sequence[str]]
"""Returns the addresses of a host and port."""


def resolve_host(host: str, port: int) -> list[str]:
    """Return the addresses of a host.

    Raises:
        OSError: the name is unknown.
    """
    return [str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


def is_public(address: str) -> bool:
    """Return True for an address of the public internet, also if it is written inside an IPv6 address."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return is_public(str(parsed.ipv4_mapped))
        if parsed.sixtofour is not None or parsed.teredo is not None or parsed in _NAT64:
            return False
    return parsed.is_global and not parsed.is_multicast


@dataclass(frozen=True)
class Outbound:
    """Sends requests to allowed hosts.

    Attributes:
        allowed_hosts: names, with the ports 80 and 443, or ``name:port``.
        resolve: returns the addresses of a host.
        may_connect: returns True for an address that may be connected to.
        timeout_s: time without a byte after which a request fails.

    Raises:
        InputError: an entry is not the name of a host.
    """

    allowed_hosts: tuple[str, ...] = ()
    resolve: Resolve = resolve_host
    may_connect: Callable[[str], bool] = is_public
    timeout_s: float = 10.0

    def __post_init__(self) -> None:
        for entry in self.allowed_hosts:
            if not _ENTRY.fullmatch(entry):
                raise InputError(f"allow_hosts has {entry!r}: give names such as media.example.com or example.com:8443")

    def check(self, url: str) -> tuple[str, str, int]:
        """Check an address against the allow-list, without resolving its name.

        Returns:
            Scheme, host and port.

        Raises:
            InputError: the address is invalid or its host is not allowed.
        """
        try:
            parts = urlsplit(url)
            scheme, host, port = parts.scheme, (parts.hostname or "").rstrip("."), parts.port
        except ValueError as error:
            raise InputError("the address is not valid: give http://HOST/PATH or https://HOST/PATH") from error
        if scheme not in _PORTS or not host or len(url) > _MAX_URL or not url.isascii() or not url.isprintable():
            raise InputError("the address is not valid: give http://HOST/PATH or https://HOST/PATH")
        if parts.username is not None or parts.password is not None:
            raise InputError("the address has a user name or a password: remove them")
        port = port or _PORTS[scheme]
        names = {entry.lower() for entry in self.allowed_hosts}
        if not (f"{host}:{port}" in names or (host in names and port in _PORTS.values())):
            raise InputError(f"the host {host} is not among the --allow_hosts of this server")
        return scheme, host, port

    @contextmanager
    def send(
        self, method: str, url: str, content: bytes | None = None, headers: dict[str, str] | None = None
    ) -> Iterator[httpx.Response]:
        """Send a request and yield its answer, whose body has not been read.

        Args:
            method: such as ``GET``.
            url: the address.
            content: body of the request.
            headers: further headers.

        Raises:
            InputError: the address is not allowed, or the host does not answer.
        """
        _, host, port = self.check(url)
        address = self._address(host, port)
        parsed = httpx.URL(url)
        pinned = parsed.copy_with(host=address)
        sent = {"Host": parsed.netloc.decode("ascii"), "Accept-Encoding": "identity", **(headers or {})}
        try:
            with (
                httpx.Client(trust_env=False, follow_redirects=False, timeout=self.timeout_s) as client,
                client.stream(
                    method, pinned, content=content, headers=sent, extensions={"sni_hostname": host}
                ) as answer,
            ):
                yield answer
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise InputError(f"the host {host} did not answer ({type(error).__name__})") from error

    def _address(self, host: str, port: int) -> str:
        try:
            addresses = self.resolve(host, port)
        except (OSError, UnicodeError) as error:
            raise InputError(f"the host {host} is unknown") from error
        if not addresses or not all(map(self.may_connect, addresses)):
            raise InputError(f"the host {host} has a private address, which this server does not connect to")
        return addresses[0]
