"""Warning headers, by which DICOMweb says in words what an answer's body has no place for.

Source: PS3.18 sections 8.3.4.4 and 10.6.3 (299 warnings), RFC 7234 section 5.5 (Warning).
"""

import re

_ESCAPED = re.compile(r'(["\\\\])')


def warning(base: str, text: str) -> tuple[bytes, bytes]:
    """A 299 warning.

    Args:
        base: the URL below which the caller sees its institution; its host warns.
        text: a sentence; what a header cannot hold is replaced.
    """
    agent = base.partition("//")[2].partition("/")[0]
    plain = "".join(one if " " <= one <= "~" else "?" for one in text)
    quoted = _ESCAPED.sub(r"\\\1", plain)
    return b"warning", f'299 {agent} "{quoted}"'.encode("ascii")
