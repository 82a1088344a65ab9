"""docs/security.md: what is negotiated and what is said are the code's."""

import ssl

from imagerepo.tls import profile
from imagerepo.tls.faults import Fault
from tests.docs.reading import DOCS, code, rows, section

PAGE = DOCS / "security.md"


def test_the_cipher_suites_are_those_that_are_negotiated() -> None:
    text = section(PAGE, "What is negotiated")
    shown = {row["version"]: code(row["cipher suites"]) for row in rows(text, "version")}
    assert shown == {"TLS 1.3": list(profile.TLS_1_3_SUITES), "TLS 1.2": list(profile.TLS_1_2_SUITES)}
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    profile.apply(context)
    assert {one["name"] for one in context.get_ciphers()} == {*profile.TLS_1_2_SUITES, *profile.TLS_1_3_SUITES}


def test_every_fault_is_explained_somewhere() -> None:
    text = section(PAGE, "When it does not work")
    shown = {fault for row in rows(text, "log") for fault in code(row["fault"])}
    assert shown | {Fault.UNREADY} == set(Fault)
