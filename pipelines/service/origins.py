"""Refuses requests that a web page of another site makes through a user's browser.

A browser sends requests to every address that it reaches, also to services on its own machine, for any page that it shows.
The header `Origin` names the site of the page, and `Sec-Fetch-Site` its relation to the service. A page can also let its own
name lead to the address of the service (DNS rebinding). It is then of the same origin, but the header `Host` has its name.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import re
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from pipelines.service.problems import Problem

# Methods that change nothing and cost little.
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
# Paths for probes, which load balancers request under names of their own.
PROBES = ("/healthz", "/readyz")
_OTHER_SITE = ("cross-site", "same-site")
_HOST = re.compile(r"(?P<name>\[[0-9A-Fa-f:.]+\]|[^\s:/?#@\[\]]+)(?::(?P<port>[0-9]*))?")
_PORTS = {"http": 80, "https": 443}
_Message = MutableMapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Origins:
    """Decides which requests are refused.

    Attributes:
        hosts: names of the service, in lower case. Pages of these hosts, on the usual port of their scheme or that of the
            service, may send requests.
        checks_host: whether the header `Host` must be a name of the service. Not needed if the service has keys, which a
            foreign page does not know.
    """

    hosts: frozenset[str] = frozenset()
    checks_host: bool = True

    def refusal(self, method: str, path: str, headers: Sequence[tuple[bytes, bytes]]) -> Problem | None:
        """Returns the problem of a request that comes from another site; None if it is accepted.

        Args:
            method: HTTP method.
            path: path of the URL.
            headers: headers, with names in lower case.
        """
        found = [(name, value.decode("latin-1").strip()) for name, value in headers]
        hosts = [value for name, value in found if name == b"host"]
        if self.checks_host and path not in PROBES:
            for host in hosts:
                if not self._is_own(host):
                    return Problem(
                        403,
                        "unknown_host",
                        f"the service does not know the host {host!r}, by which a page of another site might reach it; if "
                        "the name is its own, start it with --hosts NAME, or with keys",
                    )
        if method in SAFE_METHODS:
            return None
        origins = [value for name, value in found if name == b"origin"]
        other = next((origin for origin in origins if not self._is_trusted(origin, hosts)), None)
        if other is None and not origins:
            other = next((value for name, value in found if name == b"sec-fetch-site" and value in _OTHER_SITE), None)
        if other is None:
            return None
        return Problem(
            403,
            "cross_site",
            f"the request comes from a page of another site ({other}); if the page is yours, start the service with "
            "--hosts NAME, the name of its host",
        )

    def _is_own(self, host: str) -> bool:
        """Returns whether no other site can have this value of `Host`.

        Other sites have names with a dot: a name without one, such as `localhost`, is not looked up in the public DNS.
        """
        name = _parts(host)["name"].lower().rstrip(".")
        if not name:
            return False
        if name in self.hosts or "." not in name or name.endswith(".localhost"):
            return True
        return _is_address(name)

    def _is_trusted(self, origin: str, hosts: Sequence[str]) -> bool:
        """Returns whether a page of an origin may send requests: it is the service's own, or of one of `hosts`."""
        try:
            url = urlsplit(origin)
            name, port = url.hostname, url.port or _PORTS.get(url.scheme)
        except ValueError:
            return False
        if not name:  # also "null", the origin of sandboxed pages and local files
            return False
        usual = _PORTS.get(url.scheme)
        targets = [
            (parts["name"].strip("[]").lower(), int(parts["port"] or usual or 0)) for parts in map(_parts, hosts)
        ]
        if name.rstrip(".") in self.hosts and port in (usual, *(target[1] for target in targets)):
            return True
        return bool(targets) and all(target == (name, port) for target in targets)


def _parts(host: str) -> Mapping[str, str]:
    """Returns the name and the port in a value of `Host`; both are empty if it has another form."""
    found = _HOST.fullmatch(host)
    return found.groupdict(default="") if found else {"name": "", "port": ""}


def _is_address(name: str) -> bool:
    """Returns whether a name is an IP address; an IPv6 address is in brackets."""
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


class OriginGuard:
    """Middleware that responds with the problem of `Origins`, before it reads the body."""

    def __init__(self, app: Any, origins: Origins) -> None:
        self._app, self._origins = app, origins

    async def __call__(self, scope: _Message, receive: Any, send: Callable[[_Message], Awaitable[None]]) -> None:
        """Passes an accepted request on."""
        problem = (
            self._origins.refusal(scope["method"], scope["path"], scope["headers"]) if scope["type"] == "http" else None
        )
        if problem is None:
            await self._app(scope, receive, send)
        else:
            await problem.response()(scope, receive, send)
