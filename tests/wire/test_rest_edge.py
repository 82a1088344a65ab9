import hashlib
import socket
import struct

import pytest
from prometheus_client import REGISTRY

from imagerepo.proxy_protocol import SIGNATURE
from imagerepo.settings import Institution, Settings, Token
from tests.wire.dicomweb_samples import make, path_of
from tests.wire.dicomweb_serving import serving, stow


def token(name: str, *roles: str) -> Token:
    return Token.model_validate(
        {"name": name, "sha256": hashlib.sha256(name.encode()).hexdigest(), "roles": list(roles)}
    )


TENANTS = Settings(
    institutions=(
        Institution(id="a", tokens=(token("admin-a", "admin"), token("reader-a", "read"))),
        Institution(id="b", tokens=(token("admin-b", "admin"),)),
    )
)


def bearer(name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {name}"}


def test_nothing_crosses_institutions() -> None:
    with serving(TENANTS) as one, one.client() as client:
        content = make(study="1.1", series="1.1.1", instance="1.1.1.1")
        client.headers.update(bearer("admin-a"))
        assert stow(client, [content]).status_code == 200
        inside = [
            path_of(content),
            f"/institutions/a{path_of(content)}",
            "/image/1.1.1.1",
            "/institutions/a/study/1.1",
        ]
        for path in inside:
            assert client.get(path).status_code == 200
            assert client.get(path, headers=bearer("reader-a")).status_code == 200
        client.headers.update(bearer("admin-b"))
        assert client.get(path_of(content)).status_code == 404
        assert client.get("/image/1.1.1.1").status_code == 404
        assert client.get("/dicom-web/studies").json() == []
        for institution in ("a", "unknown"):
            assert client.get(f"/institutions/{institution}{path_of(content)}").status_code == 403
        del client.headers["Authorization"]
        for path in [*inside, "/"]:
            response = client.get(path)
            assert response.status_code == 401
            assert response.headers["www-authenticate"].startswith("Bearer")
        assert client.get("/image/1.1.1.1", headers={"Authorization": "Basic YTpi"}).status_code == 401
        assert client.get("/image/1.1.1.1", headers=bearer("unknown")).status_code == 401
        for institution in ("a", "unknown"):
            path = f"/institutions/{institution}/image/1.1.1.1"
            assert client.get(path, headers=bearer("unknown")).status_code == 401


def test_links_keep_the_institution_that_the_url_names() -> None:
    with serving() as one, one.client() as client:
        stow(client, [make(study="1.1", series="1.1.1")])
        (study,) = client.get("/institutions/default/dicom-web/studies").json()
        assert study["00081190"]["Value"] == [f"{one.url}/institutions/default/dicom-web/studies/1.1"]


def test_links_never_hold_a_host_that_is_none() -> None:
    with serving(TENANTS) as one, one.client(headers=bearer("admin-a")) as client:
        stow(client, [make(study="1.1", series="1.1.1")])
        hostile = client.get("/dicom-web/studies", headers={"Host": 'evil"<script>'})
        assert hostile.status_code == 200
        assert "evil" not in hostile.text


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8080", "localhost.evil.example", "127.0.0.1.nip.io", ""]
)
def test_without_tokens_a_page_under_another_name_is_not_served(host: str) -> None:
    with serving() as one, one.client() as client:
        for path in ("/", "/dicom-web/studies", "/institutions/default/dicom-web/studies"):
            response = client.get(path, headers={"Host": host})
            assert response.status_code == 403
            assert "institutions[].tokens" in response.text
        assert client.get("/healthz", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:80", "127.0.0.1:1", "[::1]:8080", "[::1]", "127.0.0.3:8080"])
def test_without_tokens_our_own_names_are_served(host: str) -> None:
    with serving(Settings(listen="127.0.0.3:8080")) as one, one.client() as client:
        assert client.get("/dicom-web/studies", headers={"Host": host}).status_code == 200


def test_with_tokens_any_name_is_served() -> None:
    with serving(TENANTS) as one, one.client(headers=bearer("admin-a")) as client:
        assert client.get("/dicom-web/studies", headers={"Host": "pacs.example"}).status_code == 200


def test_probes_need_no_token() -> None:
    with serving(TENANTS) as one, one.client() as client:
        for path in ("/healthz", "/readyz", "/readyz/write", "/metrics"):
            assert client.get(path).status_code == 200
        one.draining = True
        assert client.get("/readyz").status_code == client.get("/readyz/write").status_code == 503
        assert (
            client.get("/readyz?unready=404").status_code == client.get("/readyz/write?unready=404").status_code == 404
        )
        assert client.get("/healthz").status_code == 200


def count(route: str, code: str, method: str = "GET") -> float:
    labels = {"route": route, "method": method, "code": code}
    return REGISTRY.get_sample_value("imagerepo_http_requests_total", labels) or 0.0


def test_requests_are_counted_by_template() -> None:
    with serving() as one, one.client() as client:
        stow(client, [make(study="1.1", series="1.1.1", instance="1.1.1.1")])
        image, other = count("/image/{uid}", "200"), count("other", "404")
        client.get("/image/1.1.1.1")
        client.get("/institutions/default/image/1.1.1.1")
        for path in ("/nothing/1", "/nothing/2"):
            assert client.get(path).status_code == 404
        client.request("BREW", "/nothing")
        assert count("/image/{uid}", "200") == image + 2
        assert count("other", "404") == other + 2
        assert REGISTRY.get_sample_value("imagerepo_http_requests_in_flight") == 0
        first = REGISTRY.get_sample_value("imagerepo_first_image_seconds_count", {"institution": "default"})
        assert first is not None
        assert first >= 1


def test_the_start_page_escapes_what_data_sets_say() -> None:
    with serving() as one, one.client() as client:
        assert "nothing yet" in client.get("/").text
        stow(client, [make(study="1.1", series="1.1.1", patient='<script>alert("x")</script>')])
        page = client.get("/")
        assert "<script>" not in page.text
        assert "&lt;script&gt;" in page.text
        assert "default-src &#x27;none&#x27;" not in page.text
        assert page.headers["content-security-policy"].startswith("default-src 'none'")
        assert '<a href="/study/1.1">zip</a>' in page.text
        assert client.get("/study/1.1").status_code == 200


def test_the_start_page_offers_institutions_where_one_must_be_named() -> None:
    settings = Settings(institutions=(Institution(id="a"), Institution(id="b")))
    with serving(settings) as one, one.client() as client:
        assert 'href="/institutions/b/"' in client.get("/").text
        assert client.get("/institutions/b/").status_code == 200
        assert client.get("/dicom-web/studies").status_code == 404


def test_the_start_page_needs_the_role() -> None:
    with serving(TENANTS) as one, one.client() as client:
        assert client.get("/", headers=bearer("reader-a")).status_code == 200


def proxied(address: str) -> bytes:
    addresses = socket.inet_aton(address) + socket.inet_aton("10.0.0.1") + struct.pack(">HH", 1234, 80)
    return SIGNATURE + bytes([0x21, 0x11]) + struct.pack(">H", len(addresses)) + addresses


def ask(port: int, *chunks: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.settimeout(10)
        for chunk in chunks:
            connection.sendall(chunk)
        answer = b""
        while piece := connection.recv(4096):
            answer += piece
        return answer


GET = b"GET /dicom-web/studies HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


def test_a_trusted_proxy_names_the_sender() -> None:
    with serving(Settings(trusted_proxies=("127.0.0.1/32",))) as one:
        assert b" 200 " in ask(one.port, proxied("127.0.0.9") + GET)
        # Without tokens loopback alone is served: the sender's address counts, not the proxy's.
        head = proxied("192.0.2.7")
        assert b" 401 " in ask(one.port, *(head[i : i + 1] for i in range(len(head))), GET)
        assert ask(one.port, GET) == b""


def test_an_untrusted_peer_cannot_name_another_sender() -> None:
    with serving() as one:
        assert b" 400 " in ask(one.port, proxied("127.0.0.9") + GET)


@pytest.mark.parametrize("size", [70_000, 300_000])
def test_headers_that_are_too_long_are_refused(size: int) -> None:
    with serving() as one:
        answer = ask(one.port, b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * size + b"\r\n\r\n")
        assert b" 400 " in answer or b" 431 " in answer
        with one.client() as client:
            assert client.get("/healthz").status_code == 200


def test_two_authorizations_are_refused() -> None:
    with serving(TENANTS) as one:
        head = b"GET /dicom-web/studies HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
        for first, second in (("admin-a", "admin-b"), ("admin-a", "admin-a"), ("unknown", "admin-a")):
            both = f"Authorization: Bearer {first}\r\nAuthorization: Bearer {second}\r\n\r\n".encode()
            assert b" 400 " in ask(one.port, head + both)


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "cross-site", "Origin": "http://localhost:8080"},
        {"Origin": "https://evil.example"},
        {"Origin": "http://localhost.evil.example"},
        {"Origin": "null"},
        {"Origin": "file://localhost"},
    ],
)
def test_without_tokens_another_site_s_page_stores_nothing(headers: dict[str, str]) -> None:
    with serving() as one, one.client() as client:
        client.headers.update(headers)
        response = stow(client, [make(study="1.1", series="1.1.1")])
        assert response.status_code == 403
        assert "Origin" in response.text
        assert not one.memory.instances
        assert client.get("/dicom-web/studies").status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "none"},
        {"Origin": "http://localhost:8080"},
        {"Origin": "http://[::1]"},
        {"Sec-Fetch-Site": "same-site", "Origin": "http://localhost:3000"},
    ],
)
def test_without_tokens_our_own_pages_and_programs_store(headers: dict[str, str]) -> None:
    with serving() as one, one.client() as client:
        client.headers.update(headers)
        assert stow(client, [make(study="1.1", series="1.1.1")]).status_code == 200


def test_with_tokens_any_site_s_page_that_has_one_stores() -> None:
    with serving(TENANTS) as one, one.client(headers=bearer("admin-a")) as client:
        client.headers.update({"Origin": "https://viewer.example", "Sec-Fetch-Site": "cross-site"})
        assert stow(client, [make(study="1.1", series="1.1.1")]).status_code == 200


PUBLIC = "https://pacs.example.org/dicom"


def test_behind_a_balancer_every_link_is_what_it_offers() -> None:
    with serving(Settings(public_url=PUBLIC)) as one, one.client() as client:
        content = make(study="1.1", series="1.1.1", instance="1.1.1.1")
        stored = stow(client, [content])
        found = client.get("/institutions/default/dicom-web/studies")
        metadata = client.get("/dicom-web/studies/1.1/metadata")
        page = client.get("/")
        assert stored.json()["00081190"]["Value"] == [f"{PUBLIC}/dicom-web/studies/1.1"]
        assert found.json()[0]["00081190"]["Value"] == [f"{PUBLIC}/institutions/default/dicom-web/studies/1.1"]
        assert metadata.json()[0]["7FE00010"]["BulkDataURI"].startswith(f"{PUBLIC}/dicom-web/studies/1.1/")
        assert f'href="{PUBLIC}/study/1.1"' in page.text
        assert 'href="/' not in page.text
        for response in (stored, found, metadata, page):
            assert "http://127.0.0.1" not in response.text


def test_behind_a_balancer_the_choice_of_institutions_links_to_what_it_offers() -> None:
    settings = Settings(public_url=PUBLIC, institutions=(Institution(id="a"), Institution(id="b")))
    with serving(settings) as one, one.client() as client:
        assert f'href="{PUBLIC}/institutions/b/"' in client.get("/").text
        assert f'href="{PUBLIC}/institutions/b/dicom-web' in client.get("/institutions/b/").text
