"""What a route leads to: handlers by method, each behind the role it needs.

HEAD comes with GET; OPTIONS tells the methods; anything else is 405 with Allow.

Source: RFC 9110 sections 9.3.2 (HEAD), 9.3.7 (OPTIONS), 15.5.6 (405).
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final

from starlette.routing import Route
from starlette.types import Receive, Send
from starlette.types import Scope as Connection

from imagerepo.errors import BadRequestError, ForbiddenError, UnauthorizedError
from imagerepo.flows.repository import Repository
from imagerepo.model.caller import Caller, Role
from imagerepo.web import sites
from imagerepo.web.exchange import PREFIX, Exchange
from imagerepo.web.faults import MethodError
from imagerepo.web.secured import CERTIFICATE

Handler = Callable[[Exchange], Awaitable[None]]
_INSTITUTIONS: Final = "/institutions/"
_SCHEME: Final = b"bearer "


@dataclass(frozen=True, slots=True)
class Verb:
    """What one method does."""

    role: Role
    handle: Handler


class Endpoint:
    """An ASGI application for one path template."""

    def __init__(self, template: str, repository: Repository, verbs: Mapping[str, Verb]) -> None:
        self.template = template  # the metrics' label
        self._repository = repository
        self._verbs = dict(verbs)
        if "GET" in verbs:
            self._verbs["HEAD"] = verbs["GET"]
        self._allow = ", ".join(sorted({*self._verbs, "OPTIONS"}))

    async def __call__(self, connection: Connection, receive: Receive, send: Send) -> None:
        """Answer one request."""
        verb = self._verbs.get(connection["method"])
        if verb is None:
            if connection["method"] != "OPTIONS":
                raise MethodError(connection["method"], self._allow)
            headers = [(b"allow", self._allow.encode()), (b"content-length", b"0")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": b""})
            return
        caller = resolve(self._repository, connection)
        if not caller.may(verb.role):
            raise ForbiddenError(
                f"{caller.name} lacks the role {verb.role.value!r} (setting institutions[].tokens[].roles)"
            )
        await verb.handle(Exchange(connection, receive, send, caller, self._repository))


def resolve(repository: Repository, connection: Connection) -> Caller:
    """Who asks.

    Raises:
        BadRequestError: more than one Authorization.
        UnauthorizedError, ForbiddenError, NotFoundError: see flows.access.
    """
    if repository.access.tokenless:
        sites.check(connection, repository.settings.listen)
    token = None
    for name, value in connection["headers"]:
        if name == b"authorization":
            if token is not None:
                # Which of them a balancer before us went by cannot be known (RFC 9110 section 5.3).
                raise BadRequestError("Authorization is sent twice; send it once")
            if value[: len(_SCHEME)].lower() != _SCHEME:
                raise UnauthorizedError("Authorization must be 'Bearer' and a token (RFC 6750 section 2.1)")
            token = value[len(_SCHEME) :].strip().decode("latin-1")
    prefix: str = connection.get(PREFIX, "")
    client = connection["client"]
    # A socket without a peer address is a local one.
    address = client[0] if client else "127.0.0.1"
    certificate = connection.get(CERTIFICATE)
    if certificate is not None and token is None:
        sites.check_certified(connection)
    return repository.access.http(token, prefix.removeprefix(_INSTITUTIONS) or None, address, certificate)


def split_institution(path: str) -> tuple[str, str]:
    """Split '/institutions/{id}/rest' into ('/institutions/{id}', '/rest'); ('', path) of any other."""
    if not path.startswith(_INSTITUTIONS):
        return "", path
    slash = path.find("/", len(_INSTITUTIONS))
    if slash < 0:
        return path, "/"
    return path[:slash], path[slash:]


def route(repository: Repository, template: str, verbs: Mapping[str, Verb]) -> Route:
    """A route to an endpoint."""
    return Route(template, Endpoint(template, repository, verbs))


def get(repository: Repository, template: str, handle: Handler) -> Route:
    """A route that is read only."""
    return route(repository, template, {"GET": Verb(Role.READ, handle)})
