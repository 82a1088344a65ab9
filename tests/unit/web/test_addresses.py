import pytest

from imagerepo.model.addresses import within
from imagerepo.settings import networks


@pytest.mark.parametrize(
    ("address", "inside"),
    [("10.0.0.5", True), ("::ffff:10.0.0.5", True), ("2001:db8::1", True), ("11.0.0.5", False), ("::a00:5", False)],
)
def test_an_ipv4_peer_of_an_ipv6_socket_is_that_ipv4_peer(address: str, *, inside: bool) -> None:
    assert within(address, networks(("10.0.0.0/8", "2001:db8::/32"))) is inside


def test_no_network_holds_anything() -> None:
    assert not within("127.0.0.1", ())
