"""What a browser on this machine may be led to do while HTTP asks for no token, and so takes it for an admin.

Refused are a page that reaches us under a name of its own, made to resolve to loopback (DNS rebinding), and a page
from elsewhere that has the browser store something here (cross-site request forgery).

Source: Fetch Metadata Request Headers section 2.3 (Sec-Fetch-Site), RFC 6454 section 7 (Origin).
"""

import re
from typing import Final

from starlette.types import Scope as Connection

from imagerepo.errors import ForbiddenError
from imagerepo.settings import split_listen

_OWN_HOSTS: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_PORT: Final = re.compile(r":[0-9]{0,5}\Z")
_SCHEME: Final = re.compile(r"https?://")
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})  # RFC 9110 section 9.2.1
_OWN_SITES: Final = frozenset({"same-origin", "same-site", "none"})


def check(connection: Connection, listen: str) -> None:
    """Raise ForbiddenError for what no program of this machine's users would send.

    Args:
        connection: the request.
        listen: the setting.
    """
    own = {*_OWN_HOSTS, split_listen(listen)[0].lower()}
    named = _values(connection, b"host")
    if len(named) != 1 or _host(named[0]) not in own:
        raise ForbiddenError(
            f"without tokens (setting institutions[].tokens) only Host localhost, 127.0.0.1, [::1] or the address of "
            f"the setting listen is served, not {', '.join(named)[:100]!r}"
        )
    if connection["method"] not in _SAFE and not _is_own(connection, own):
        raise ForbiddenError(
            "without tokens (setting institutions[].tokens) nothing is stored for a page of another site, which "
            "Sec-Fetch-Site or Origin says this comes from"
        )


def check_certified(connection: Connection) -> None:
    """Likewise for what a browser sends with a client certificate, which it adds whoever's page asks."""
    own = {_host(host) for host in _values(connection, b"host")}
    if connection["method"] not in _SAFE and not _is_own(connection, own):
        raise ForbiddenError(
            "with a client certificate nothing is stored or deleted for a page of another site, which Sec-Fetch-Site "
            "or Origin says this comes from; send a token"
        )


def _is_own(connection: Connection, own: set[str]) -> bool:
    """Whether no browser says that another site's page asks; programs other than browsers say nothing."""
    # A page cannot set either header. Sec-Fetch-Site is what the browser itself concluded, redirects included.
    sites = _values(connection, b"sec-fetch-site")
    if sites:
        return all(site in _OWN_SITES for site in sites)
    return all(
        _SCHEME.match(origin) is not None and _host(_SCHEME.sub("", origin)) in own
        for origin in _values(connection, b"origin")
    )


def _values(connection: Connection, wanted: bytes) -> list[str]:
    return [value.decode("latin-1").lower() for name, value in connection["headers"] if name == wanted]


def _host(text: str) -> str:
    return _PORT.sub("", text).strip("[]")
