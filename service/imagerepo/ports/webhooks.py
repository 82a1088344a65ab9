"""Webhooks: posting messages to them."""

from types import TracebackType
from typing import Protocol, Self

from imagerepo.model.webhook import Webhook


class Posting(Protocol):
    """A way to one webhook, kept open over many messages. Belongs to one thread at a time."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...

    def post(self, message: str, body: bytes) -> None:
        """Post a message, signed; returns when the webhook has taken it.

        Args:
            message: its id, the same whenever it is posted again.
            body: JSON.

        Raises:
            PeerError: with `failure` DECLINED, it does not take this message. With any other, it or the network is
                gone, or it would take none.
            SettingsError: the secret, or a certificate, cannot be read.
        """
        ...


class Postings(Protocol):
    """Opens ways to webhooks. Safe to call from any number of threads."""

    def posting(self, hook: Webhook) -> Posting:
        """Open one; nothing is sent yet."""
        ...
