"""Signatures of messages to webhooks, and the files that their secrets are in."""

import base64
from pathlib import Path

import pytest

from imagerepo.errors import SettingsError
from imagerepo.rest.webhook_posts import read_secrets, signature


def test_a_signature_is_the_one_that_the_specification_s_libraries_make() -> None:
    # The example by which the libraries of Standard Webhooks are tested.
    secret = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    made = signature(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert made == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_each_line_is_a_secret_in_base64_or_as_it_stands(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text(f"whsec_{base64.b64encode(bytes(32)).decode()}\r\n\n{'plain' * 6}\n")
    assert read_secrets(file) == [bytes(32), b"plain" * 6]


@pytest.mark.parametrize(
    "content", [b"", b"\n", b"short\n", b"whsec_AAAA\n", b"whsec_no*such*letters*in*it*at*all\n",
                b"whsec_" + b"!" * 40, "gehört sich nicht, ist aber lang".encode(), b"x" * 40 + b"\nshort"],
)  # fmt: skip
def test_a_file_that_cannot_be_meant_is_refused_by_its_name_and_never_shown(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "webhook.secret"
    file.write_bytes(content)
    with pytest.raises(SettingsError, match=r"institutions\[\]\.webhooks\[\]\.secret_file: .*webhook\.secret") as said:
        read_secrets(file)
    for word in content.split():
        assert word.decode(errors="replace") not in str(said.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"secret_file: cannot read .*nowhere: No such file"):
        read_secrets(tmp_path / "nowhere")
