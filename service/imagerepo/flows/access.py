"""Who may come in, and to which institution. Nothing crosses from one to another."""

import hashlib
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from imagerepo.errors import ForbiddenError, NotFoundError, UnauthorizedError
from imagerepo.model.addresses import within
from imagerepo.model.caller import USER, Caller, Protocol, Role
from imagerepo.model.certificate import Certificate
from imagerepo.model.events import OnDifference
from imagerepo.model.passcode import Passcode, agrees
from imagerepo.settings import LOOPBACK, Institution, networks
from imagerepo.settings_tls import Certificate as KnownCertificate
from imagerepo.settings_users import User

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

    def association(
        self,
        called: str,
        calling: str,
        address: str,
        certificate: Certificate | None = None,
        passcode: Passcode | None = None,
    ) -> Caller:
        """The caller of a DIMSE association.

        Args:
            called: the called AE title.
            calling: the calling AE title.
            address: the sender's.
            certificate: the one that it showed over TLS, verified.
            passcode: what it showed over TLS, not verified; that takes a moment.

        Raises:
            NotFoundError: no institution is called by that AE title.
            ForbiddenError: that AE title may not call it with what it showed, or from that address.
        """
        return self._book.association(called, calling, address, certificate, passcode)

    def http(
        self, token: str | None, institution: str | None, address: str, certificate: Certificate | None = None
    ) -> Caller:
        """The caller of an HTTP request.

        Args:
            token: the bearer token, if one was sent.
            institution: the one that the URL names, if it does.
            address: the sender's.
            certificate: the one that it showed over TLS, verified; a token that is sent as well decides alone.

        Raises:
            UnauthorizedError: no token and no certificate where one is needed, or an unknown one.
            ForbiddenError: it does not open the institution that the URL names, which may not exist.
            NotFoundError: without tokens, the URL names none of several institutions, or an unknown one.
        """
        return self._book.http(token, institution, address, certificate)

    @property
    def tokenless(self) -> bool:
        """Whether anyone on loopback is admin, because no institution has tokens, or certificates with roles."""
        return self._book.tokenless

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
        self._institutions = institutions
        self._by_certificate = any(known.roles for one in institutions for known in one.certificates)
        self.tokens = {
            token.sha256: _Holder(one.id, f"token:{token.name}", frozenset(Role(role) for role in token.roles))
            for one in institutions
            for token in one.tokens
        }

    @property
    def tokenless(self) -> bool:
        return not self.tokens and not self._by_certificate

    def called(self, ae_title: str) -> tuple[str, ...]:
        return tuple(one.id for one in self._by_called.get(ae_title, ()))

    def association(
        self, called: str, calling: str, address: str, certificate: Certificate | None, passcode: Passcode | None
    ) -> Caller:
        candidates = self._by_called.get(called)
        if candidates is None:
            raise NotFoundError(
                f"no institution is called {called!r} (settings ae_title, institutions[].called_ae_titles)"
            )
        roles = frozenset({Role.READ, Role.WRITE})
        proven = [(one, known) for one, known in _known(candidates, certificate) if calling in known.ae_titles]
        if proven:
            one, known = _only(proven)
            return Caller(one.id, f"certificate:{known.name}", address, Protocol.DIMSE, roles)
        user = None if passcode is None else _user(candidates, passcode, calling)
        if user is not None:
            return Caller(user[0].id, f"{USER}{user[1].name}", address, Protocol.DIMSE, roles)
        for one in candidates:
            if _admits(one, calling, address):
                return Caller(one.id, f"ae:{calling}", address, Protocol.DIMSE, roles)
        if certificate is not None:
            raise ForbiddenError(
                f"AE title {calling!r} may not call {called!r} from {address} with {certificate} "
                "(settings institutions[].certificates, institutions[].senders)"
            )
        raise ForbiddenError(
            f"AE title {calling!r} may not call {called!r} from {address} without a certificate "
            "(settings institutions[].senders, institutions[].certificates)"
        )

    def http(
        self, token: str | None, institution: str | None, address: str, certificate: Certificate | None
    ) -> Caller:
        if token is None and certificate is not None and self._by_certificate:
            return self._by_certificate_shown(certificate, institution, address)
        if not self.tokenless:
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
            how = " or a client certificate" if self._by_certificate else ""
            raise UnauthorizedError(f"a bearer token{how} is needed")
        # Before the URL is looked at: whoever has no token learns nothing of which institutions there are.
        holder = self.tokens.get(hashlib.sha256(token.encode()).hexdigest())
        if holder is None:
            raise UnauthorizedError("the bearer token is not known")
        if institution not in {None, holder.institution}:
            # One that does not exist must look like a foreign one, or names could be tried out.
            raise ForbiddenError(f"the token does not belong to institution {institution!r}")
        return Caller(holder.institution, holder.name, address, Protocol.HTTP, holder.roles)

    def _by_certificate_shown(self, certificate: Certificate, institution: str | None, address: str) -> Caller:
        found = [(one, known) for one, known in _known(self._institutions, certificate) if known.roles]
        if not found:
            raise UnauthorizedError(f"{certificate} is not known (setting institutions[].certificates)")
        one, known = _only(found)
        if institution not in {None, one.id}:
            raise ForbiddenError(f"the certificate does not belong to institution {institution!r}")
        roles = frozenset(Role(role) for role in known.roles)
        return Caller(one.id, f"certificate:{known.name}", address, Protocol.HTTP, roles)


def _known(
    institutions: Iterable[Institution], certificate: Certificate | None
) -> Iterator[tuple[Institution, KnownCertificate]]:
    """What the settings say of a certificate that TLS has verified, which may have been long ago."""
    if certificate is None or certificate.not_after < time.time():
        return
    for one in institutions:
        if str(one.client_ca) in certificate.authorities:
            yield from ((one, known) for known in one.certificates if not certificate.names.isdisjoint(known.matches))


def _only(
    found: Sequence[tuple[Institution, KnownCertificate]],
) -> tuple[Institution, KnownCertificate]:
    """The one entry that a certificate fits, or the first of several of one institution."""
    if len({one.id for one, _ in found}) > 1:
        raise ForbiddenError(
            "the certificate fits several institutions, each by another of its names "
            "(setting institutions[].certificates[].matches)"
        )
    return found[0]


def _user(candidates: Sequence[Institution], passcode: Passcode, calling: str) -> tuple[Institution, User] | None:
    """The user whose passcode it is; None: there is none of that name. Raises ForbiddenError."""
    # Some devices send a name that means nothing here: they come in as if they had sent none.
    named = [(one, user) for one in candidates for user in one.users if user.name == passcode.username]
    for one, user in named:
        if calling in user.ae_titles and agrees(passcode.secret, user.passcode):
            return one, user
    if named:
        raise ForbiddenError(
            f"user {passcode.username!r} may not call as {calling!r}, or has another passcode "
            "(setting institutions[].users)"
        )
    return None


def _admits(institution: Institution, calling: str, address: str) -> bool:
    if not institution.senders:
        # Whoever asks its devices for proof has not meant to admit others beside them.
        return not institution.certificates and not institution.users and within(address, _LOOPBACK)
    return any(
        sender.ae_title == calling and within(address, networks(sender.addresses) or _LOOPBACK)
        for sender in institution.senders
    )
