"""Who may come in, and to which institution. Nothing crosses from one to another."""

import hashlib
from dataclasses import dataclass

from imagerepo.errors import ForbiddenError, NotFoundError, UnauthorizedError
from imagerepo.model.addresses import within
from imagerepo.model.caller import Caller, Protocol, Role
from imagerepo.model.events import OnDifference
from imagerepo.settings import LOOPBACK, Institution, networks

_LOOPBACK = networks(LOOPBACK)


@dataclass(frozen=True, slots=True)
class _Holder:
    institution: str
    name: str
    roles: frozenset[Role]


class Access:
    """Resolves callers. `replace` exchanges the institutions at once, for requests to come."""

    def __init__(self, institutions: tuple[Institution, ...], ae_title: str) -> None:
        self._ae_title = ae_title
        self._book = _Book(institutions, ae_title)

    def replace(self, institutions: tuple[Institution, ...]) -> None:
        """Use other institutions from now on."""
        self._book = _Book(institutions, self._ae_title)

    def association(self, called: str, calling: str, address: str) -> Caller:
        """The caller of a DIMSE association.

        Raises:
            NotFoundError: no institution is called by that AE title.
            ForbiddenError: that AE title may not call it from that address.
        """
        return self._book.association(called, calling, address)

    def http(self, token: str | None, institution: str | None, address: str) -> Caller:
        """The caller of an HTTP request.

        Args:
            token: the bearer token, if one was sent.
            institution: the one that the URL names, if it does.
            address: the sender's.

        Raises:
            UnauthorizedError: no token where one is needed, or an unknown one.
            ForbiddenError: the token does not open the institution that the URL names, which may not exist.
            NotFoundError: without tokens, the URL names none of several institutions, or an unknown one.
        """
        return self._book.http(token, institution, address)

    @property
    def tokenless(self) -> bool:
        """Whether anyone on loopback is admin, because no institution has tokens."""
        return not self._book.tokens

    def on_difference(self, institution: str) -> OnDifference:
        """What that institution does with different bytes under a known UID."""
        return self._book.on_difference.get(institution, OnDifference.VERSION)

    def called(self, ae_title: str) -> tuple[str, ...]:
        """Ids of the institutions that are called by that AE title."""
        return self._book.called(ae_title)

    def institutions(self) -> tuple[str, ...]:
        """Ids of all institutions."""
        return tuple(self._book.on_difference)


class _Book:
    """One state of the institutions, never changed."""

    def __init__(self, institutions: tuple[Institution, ...], ae_title: str) -> None:
        self.on_difference = {one.id: OnDifference(one.on_difference) for one in institutions}
        self._by_called: dict[str, list[Institution]] = {}
        for one in institutions:
            for title in one.called_ae_titles or (ae_title,):
                self._by_called.setdefault(title, []).append(one)
        self.tokens = {
            token.sha256: _Holder(one.id, f"token:{token.name}", frozenset(Role(role) for role in token.roles))
            for one in institutions
            for token in one.tokens
        }

    def called(self, ae_title: str) -> tuple[str, ...]:
        return tuple(one.id for one in self._by_called.get(ae_title, ()))

    def association(self, called: str, calling: str, address: str) -> Caller:
        candidates = self._by_called.get(called)
        if candidates is None:
            raise NotFoundError(
                f"no institution is called {called!r} (settings ae_title, institutions[].called_ae_titles)"
            )
        for one in candidates:
            if _admits(one, calling, address):
                return Caller(one.id, f"ae:{calling}", address, Protocol.DIMSE, frozenset({Role.READ, Role.WRITE}))
        raise ForbiddenError(
            f"AE title {calling!r} may not call {called!r} from {address} (setting institutions[].senders)"
        )

    def http(self, token: str | None, institution: str | None, address: str) -> Caller:
        if self.tokens:
            return self._by_token(token, institution, address)
        if not within(address, _LOOPBACK):
            raise UnauthorizedError("without tokens (setting institutions[].tokens) only loopback is served")
        if institution is not None and institution not in self.on_difference:
            raise NotFoundError(f"no institution {institution!r}")
        if institution is None:
            if len(self.on_difference) > 1:
                raise NotFoundError("there are several institutions; use /institutions/{id}/… or a token")
            institution = next(iter(self.on_difference))
        return Caller(institution, "anonymous", address, Protocol.HTTP, frozenset({Role.ADMIN}))

    def _by_token(self, token: str | None, institution: str | None, address: str) -> Caller:
        if token is None:
            raise UnauthorizedError("a bearer token is needed")
        # Before the URL is looked at: whoever has no token learns nothing of which institutions there are.
        holder = self.tokens.get(hashlib.sha256(token.encode()).hexdigest())
        if holder is None:
            raise UnauthorizedError("the bearer token is not known")
        if institution not in {None, holder.institution}:
            # One that does not exist must look like a foreign one, or names could be tried out.
            raise ForbiddenError(f"the token does not belong to institution {institution!r}")
        return Caller(holder.institution, holder.name, address, Protocol.HTTP, holder.roles)


def _admits(institution: Institution, calling: str, address: str) -> bool:
    if not institution.senders:
        return within(address, _LOOPBACK)
    return any(
        sender.ae_title == calling and within(address, networks(sender.addresses) or _LOOPBACK)
        for sender in institution.senders
    )
