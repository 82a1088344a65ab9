"""IP addresses and the networks they lie in."""

from ipaddress import IPv4Network, IPv6Network, ip_address

Networks = tuple[IPv4Network | IPv6Network, ...]


def within(address: str, networks: Networks) -> bool:
    """Whether an address lies in one of `networks`.

    A socket that serves both families shows IPv4 peers as ::ffff:a.b.c.d; they are taken as a.b.c.d.

    Source: RFC 4291 section 2.5.5.2 (IPv4-Mapped IPv6 Address).
    """
    if not networks:
        return False
    host = ip_address(address)
    if host.version == 6 and host.ipv4_mapped is not None:
        host = host.ipv4_mapped
    return any(host.version == network.version and host in network for network in networks)
