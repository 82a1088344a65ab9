"""Settings of TLS: ports, certificates, and who is known by theirs."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Literal, Protocol

from pydantic import AfterValidator, Field, model_validator

from imagerepo.settings_fields import AeTitle, Listen, Section, Timeout

_FINGERPRINT = r"sha256:[0-9a-f]{64}"
_NAME = rf"^({_FINGERPRINT}|dns:[a-z0-9_*.-]+|uri:\S+|email:\S+@\S+|subject:\S.*)$"


def _fully_named(text: str) -> str:
    if text.startswith("dns:") and "*" in text:
        raise ValueError(f"{text!r} has a wildcard: name each device's certificate by itself")
    return text


CertificateName = Annotated[str, Field(max_length=1024, pattern=_NAME), AfterValidator(_fully_named)]


class Certificate(Section):
    """Who is known by a client certificate."""

    name: Annotated[str, Field(min_length=1, max_length=64)]
    """Stands in the journal for whoever shows the certificate."""
    matches: Annotated[tuple[CertificateName, ...], Field(min_length=1)]
    """Its names, any of which is enough: `sha256:`, `dns:`, `uri:`, `email:` or `subject:` and a value."""
    ae_titles: tuple[AeTitle, ...] = ()
    """Calling AE titles that its holder may use; empty: no associations."""
    roles: tuple[Literal["read", "write", "delete", "admin"], ...] = ()
    """What its holder may do by HTTP; empty: nothing."""

    @model_validator(mode="after")
    def _of_use(self) -> "Certificate":
        if not self.ae_titles and not self.roles:
            raise ValueError("give it ae_titles (for DIMSE), roles (for HTTP) or both")
        return self


class Tls(Section):
    """TLS of the server."""

    listen: Listen | None = None
    """Where HTTPS is served, beside `listen`; none: nowhere."""
    dicom_listen: Listen | None = None
    """Where DIMSE over TLS is served, beside `dicom_listen`; none: nowhere."""
    certificate: Path | None = None
    """File with the server's certificate (PEM), followed by those that lead to a root."""
    key: Path | None = None
    """File with its private key (PEM, without passphrase)."""
    client_ca: Path | None = None
    """File with the certificates (PEM) of those who issue client certificates; none: none are asked for."""
    dimse_clients: Literal["required", "optional"] = "required"
    """Whether a device has to show a certificate, where `client_ca` or that of an institution is set."""
    http_clients: Literal["required", "optional"] = "optional"
    """Likewise for HTTPS."""
    handshake_timeout: Timeout = 10.0
    """Seconds for a TLS handshake to be complete."""

    @model_validator(mode="after")
    def _complete(self) -> "Tls":
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key belong together; set both or none")
        if self.certificate is None and (self.listen is not None or self.dicom_listen is not None):
            raise ValueError("listen and dicom_listen need certificate and key")
        return self


class Tenant(Protocol):
    """An institution, as far as certificates go."""

    @property
    def id(self) -> str:
        """Its name."""
        ...

    @property
    def called_ae_titles(self) -> tuple[str, ...]:
        """AE titles under which it is called; empty: ours."""
        ...

    @property
    def certificates(self) -> tuple[Certificate, ...]:
        """Whose certificates it knows."""
        ...

    @property
    def client_ca(self) -> Path | None:
        """Who issues them; None: whoever issues everyone's."""
        ...


def conflict(tls: Tls, ae_title: str, tenants: Iterable[Tenant]) -> str | None:
    """What makes certificates useless or ambiguous; None: nothing does."""
    return next(_conflicts(tls, ae_title, tenants), None)


def _conflicts(tls: Tls, ae_title: str, tenants: Iterable[Tenant]) -> Iterator[str]:
    held: dict[tuple[str, ...], str] = {}
    for one in tenants:
        if one.certificates and one.client_ca is None and tls.client_ca is None:
            yield f"institutions[].certificates: {one.id!r} needs client_ca, its own or tls.client_ca"
        for certificate in one.certificates:
            for key in _claims(certificate, one.called_ae_titles or (ae_title,)):
                other = held.setdefault(key, one.id)
                if other != one.id:
                    yield (
                        f"institutions[].certificates: {key[-1]!r} opens {other!r} and {one.id!r} in the same way; "
                        "give one of them another of called_ae_titles, or other certificates"
                    )


def _claims(certificate: Certificate, called: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    for match in certificate.matches:
        if certificate.roles:
            yield ("http", match)
        for title in certificate.ae_titles:
            for name in called:
                yield ("dimse", name, title, match)
