"""What a peer's certificate proves once TLS has verified it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Certificate:
    """A verified certificate, by the names that settings may map it by."""

    names: frozenset[str]  # "sha256:…", "dns:ct1.example.org", "uri:…", "email:…", "subject:CN=CT1,O=North"
    authorities: frozenset[str]  # files of the settings that hold who issued it
    not_after: float  # seconds since the epoch
    subject: str  # for people; ours to cut, never to decide by

    def __str__(self) -> str:
        fingerprint = next((name for name in self.names if name.startswith("sha256:")), "")
        return f"certificate {self.subject!r} ({fingerprint})"
