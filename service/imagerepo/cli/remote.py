"""Requests to a running server, for commands that change what is stored."""

import http.client
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Final
from urllib.parse import quote, urlencode, urlsplit

import typer

from imagerepo.errors import BadRequestError, NotFoundError, RefusedError, UnavailableError

To = Annotated[str | None, typer.Option("--to", metavar="URL", help="Server that does it, such as http://host:8080.")]
TokenFile = Annotated[Path | None, typer.Option(help="File with the bearer token for that server.")]
Institution = Annotated[str | None, typer.Option(help="Institution, where there are several.")]

_PATIENCE: Final = 60.0  # seconds
_NOT_FOUND: Final = 404
_RETRY: Final = 500  # the first status that says that nothing is wrong with the request

NOTHING: Final[Mapping[str, str]] = MappingProxyType({})
"""No query."""


@dataclass(frozen=True, slots=True)
class Remote:
    """A server, and who asks it."""

    url: str
    token_file: Path | None
    institution: str | None

    def ask(self, method: str, path: str, query: Mapping[str, str] = NOTHING, body: bytes | None = None) -> bytes:
        """What a request is answered; `body` is JSON.

        Raises:
            BadRequestError: the URL or the token's file is wrong.
            NotFoundError, RefusedError: the server says no; its sentence is the error's.
            UnavailableError: it cannot be reached, or may be asked again.
        """
        if urlsplit(self.url).scheme not in {"http", "https"}:
            raise BadRequestError(f"--to {self.url!r} is not http:// or https:// with a host")
        prefix = f"/institutions/{quote(self.institution, safe='')}" if self.institution is not None else ""
        url = f"{self.url.rstrip('/')}{prefix}{path}?{urlencode(query)}"
        headers = self._headers() | ({} if body is None else {"Content-Type": "application/json"})
        request = urllib.request.Request(url, body, headers, method=method)  # noqa: S310 - looked at above
        try:
            with urllib.request.urlopen(request, timeout=_PATIENCE) as answer:  # noqa: S310 - likewise
                return answer.read()
        except urllib.error.HTTPError as error:
            with error:
                said = error.read().decode(errors="replace").strip() or f"the server answers {error.code}"
            kind = UnavailableError if error.code >= _RETRY else RefusedError
            raise (NotFoundError if error.code == _NOT_FOUND else kind)(said) from error
        except (OSError, http.client.HTTPException) as error:
            reason: object = getattr(error, "reason", error)
            raise UnavailableError(f"cannot ask {self.url}: {reason}; is it the right --to?") from error

    def _headers(self) -> dict[str, str]:
        if self.token_file is None:
            return {}
        try:
            return {"Authorization": f"Bearer {self.token_file.read_text(encoding='ascii').strip()}"}
        except (OSError, UnicodeDecodeError) as error:
            raise BadRequestError(f"--token-file: cannot read {self.token_file}: {error}") from error
