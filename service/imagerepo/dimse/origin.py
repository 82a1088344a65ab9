"""Where an association comes from: what its connection tells before the first PDU, and who its request says to be.

Source: PS3.7 D.3.3.7 (user identity negotiation).
"""

from dataclasses import dataclass

from imagerepo.dimse.associate import AssociateRequest, IdentityType
from imagerepo.model.certificate import Certificate
from imagerepo.model.passcode import Passcode


@dataclass(frozen=True, slots=True)
class Origin:
    """A connection's other end."""

    address: str  # the sender's
    certificate: Certificate | None = None  # that it showed
    encrypted: bool = False  # whether nobody in between can read what it sends

    def passcode(self, request: AssociateRequest) -> Passcode | None:
        """The user name and passcode of a request.

        None: there is none, or it came in the clear, where it may be anyone's by now. User names alone prove nothing;
        Kerberos, SAML and JWT would need a party that we do not ask: all are as if nothing had been sent.
        """
        identity = request.user.identity
        if identity is None or identity.type != IdentityType.USERNAME_AND_PASSCODE or not self.encrypted:
            return None
        try:
            return Passcode(identity.primary.decode("utf-8"), identity.secondary)
        except UnicodeDecodeError:
            return None
