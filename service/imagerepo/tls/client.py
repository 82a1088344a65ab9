"""Our side of a connection that we open: the peer's certificate and name are verified, always.

Source: PS3.15 B.12; RFC 9325 section 3.2 (strict TLS), RFC 9525 (names of services).
"""

import ssl

from imagerepo.model.peer import PeerTls
from imagerepo.tls import profile
from imagerepo.tls.material import check_period, read_pair, show, trust


def client_context(tls: PeerTls, setting: str = "nodes[].tls") -> ssl.SSLContext:
    """What verifies a peer and shows it our certificate. Reads the files anew, so that what has changed counts.

    Args:
        tls: whom to believe, and what to show.
        setting: where that is set.

    Raises:
        SettingsError: a file cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # verifies chain and name unless told otherwise
    profile.apply(context)
    # A device's own certificate may be trusted by itself, without the authority that issued it.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    if tls.ca is None:
        context.load_default_certs()
    else:
        trust(context, tls.ca, f"{setting}.ca")
    if tls.certificate is not None and tls.key is not None:
        pair = read_pair(tls.certificate, tls.key, setting)
        check_period(pair, setting)
        show(context, pair, setting)
    return context
