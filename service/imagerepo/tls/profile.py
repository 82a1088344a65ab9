"""What is negotiated: TLS 1.3 and 1.2, with the cipher suites of BCP 195 and no others.

One profile for DIMSE and HTTP, for both sides. There is no setting that weakens it: whatever speaks less needs a
balancer in front.

Source: PS3.15 B.12 (BCP 195 RFC 8996, 9325 TLS Secure Transport Connection Profile); RFC 9325 sections 3.1 to 3.5,
4.2 (cipher suites), 4.4 (key sizes); RFC 8996 (no TLS 1.0 and 1.1).
"""

import ssl
from typing import Final

TLS_1_2_SUITES: Final = (
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
)
"""Of TLS 1.2, in OpenSSL's names (RFC 9325 section 4.2)."""
TLS_1_3_SUITES: Final = ("TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256", "TLS_AES_128_GCM_SHA256")
"""Of TLS 1.3: all that OpenSSL enables by itself (RFC 8446 section 9.1)."""
_SECURITY: Final = "@SECLEVEL=2"  # 112 bits: RSA and DH from 2048, EC from 224 (RFC 9325 section 4.4)


def apply(context: ssl.SSLContext) -> None:
    """Have `context` negotiate this profile alone."""
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(":".join(TLS_1_2_SUITES) + f":{_SECURITY}")
    # Renegotiation (RFC 9325 section 3.5) and compression (3.3): never.
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
