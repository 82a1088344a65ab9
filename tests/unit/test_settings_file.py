"""processes.settings_file: what a running server makes of a changed file, and what it says of the rest."""

import logging
from pathlib import Path

import pytest

from imagerepo.processes.settings_file import SettingsFile
from imagerepo.settings import load

NODE = "nodes: [{name: viewer, ae_title: VIEWER, host: 127.0.0.1, port: 11113}]\n"


def followed(path: Path, text: str) -> SettingsFile:
    path.write_text(text)
    file = SettingsFile(path, load(path, {}))
    assert file.changed() is None
    return file


def test_what_is_read_again_is_given(tmp_path: Path) -> None:
    file = followed(tmp_path / "settings.yaml", "workers: 2\n")
    (tmp_path / "settings.yaml").write_text(f"workers: 2\n{NODE}")
    found = file.changed()
    assert found is not None
    assert [node.name for node in found.nodes] == ["viewer"]
    assert file.changed() is None


def test_what_waits_for_a_restart_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = followed(tmp_path / "settings.yaml", "workers: 2\n")
    (tmp_path / "settings.yaml").write_text(f"workers: 3\ndimse: {{idle_timeout: 77}}\n{NODE}")
    with caplog.at_level(logging.WARNING):
        found = file.changed()
    assert found is not None
    assert found.workers == 2
    (record,) = caplog.records
    assert record.getMessage() == "settings.wait_for_restart"
    assert record.__dict__["settings"] == "workers, dimse"


def test_what_cannot_be_used_changes_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = followed(tmp_path / "settings.yaml", NODE)
    (tmp_path / "settings.yaml").write_text("nodes: [{name: viewer}]\n")
    assert file.changed() is None
    assert [record.getMessage() for record in caplog.records] == ["settings.not_reloaded"]


def test_what_cannot_be_used_before_a_restart_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = followed(tmp_path / "settings.yaml", "workers: 2\n")
    tls = "tls: {listen: '127.0.0.1:0', certificate: c.pem, key: k.pem, client_ca: ca.pem}\n"
    mapped = (
        "institutions: [{id: clinic, certificates: [{name: ct, matches: ['dns:ct.example.org'], roles: [read]}]}]\n"
    )
    (tmp_path / "settings.yaml").write_text(f"{tls}{mapped}")
    assert file.changed() is None
    (record,) = caplog.records
    assert record.getMessage() == "settings.not_reloaded"
    assert "needs client_ca" in record.__dict__["reason"]
    assert "changes workers, tls, which waits for a restart" in record.__dict__["reason"]
