"""Nodes: found by name and AE title, each institution its own; exchanged at once."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from imagerepo.errors import NotFoundError, SettingsError
from imagerepo.flows.nodes import Nodes
from imagerepo.settings import Settings, load, reloaded

NODES = """
ae_title: OURS
institutions:
  - {id: north, called_ae_titles: [NORTH, NORTH2]}
  - {id: south}
nodes:
  - {name: ws, ae_title: WS, host: 10.0.0.1, port: 11112, institutions: [north]}
  - {name: ws-south, ae_title: WS, host: 10.0.0.2, institutions: [south]}
  - name: archive
    ae_title: ARCHIVE
    host: archive.example.org
    associations: 4
    calling_ae_title: OTHER
    tls: {ca: ca.pem, certificate: own.pem, key: own.key}
"""


def settings(text: str = NODES, **changes: Any) -> Settings:
    return Settings.model_validate({**yaml.safe_load(text), **changes})


def test_a_node_is_found_by_name() -> None:
    archive = Nodes(settings()).named("archive")
    assert str(archive) == "archive (ARCHIVE at archive.example.org:104)"
    assert (archive.associations, archive.calling_ae_title) == (4, "OTHER")
    assert archive.tls is not None
    assert archive.tls.server_name == "archive.example.org"


def test_a_name_that_nobody_has_is_told_with_those_that_there_are() -> None:
    with pytest.raises(NotFoundError, match="known: ws, ws-south, archive"):
        Nodes(settings()).named("ws2")


def test_each_institution_has_its_own_destination_of_an_ae_title() -> None:
    nodes = Nodes(settings())
    assert nodes.destination("WS", "north").host == "10.0.0.1"
    assert nodes.destination("WS", "south").host == "10.0.0.2"
    assert nodes.destination("ARCHIVE", "south").name == "archive"


def test_another_institution_s_destination_is_none() -> None:
    only_north = settings()
    nodes = Nodes(only_north.model_copy(update={"nodes": only_north.nodes[:1]}))
    with pytest.raises(NotFoundError):
        nodes.destination("WS", "south")


def test_we_call_as_the_institution_is_called() -> None:
    nodes = Nodes(settings())
    assert (nodes.calling("north"), nodes.calling("south")) == ("NORTH", "OURS")


def test_nodes_are_exchanged_at_once(tmp_path: Path) -> None:
    file = tmp_path / "imagerepo.yaml"
    file.write_text(NODES)
    before = load(file, {}, {})
    nodes = Nodes(before)
    file.write_text(NODES.replace("10.0.0.1", "10.0.0.9").replace("name: archive", "name: vault"))
    nodes.replace(reloaded(before, load(file, {}, {})))
    assert nodes.named("ws").host == "10.0.0.9"
    assert nodes.named("vault").ae_title == "ARCHIVE"
    with pytest.raises(NotFoundError):
        nodes.named("archive")


@pytest.mark.parametrize(
    ("wrong", "shown"),
    [
        (
            [{"name": "a", "ae_title": "A", "host": "h"}, {"name": "a", "ae_title": "B", "host": "h"}],
            "'a' may stand once",
        ),
        (
            [{"name": "a", "ae_title": "A", "host": "h"}, {"name": "b", "ae_title": "A", "host": "h"}],
            "the AE title 'A'",
        ),
        ([{"name": "a", "ae_title": "A", "host": "h", "institutions": ["west"]}], "no institution 'west'"),
        ([{"name": "a b", "ae_title": "A", "host": "h"}], "nodes.0.name"),
        ([{"name": "a", "ae_title": "A", "host": "h", "port": 0}], "nodes.0.port"),
        ([{"name": "a", "ae_title": "A", "host": "h h"}], "nodes.0.host"),
        ([{"name": "a", "ae_title": "A", "host": "h", "tls": {"key": "k"}}], "certificate and key belong together"),
        ([{"name": "a", "ae_title": "A"}], "nodes.0.host"),
    ],
)
def test_nodes_that_cannot_be_told_apart_or_used_name_the_field(
    wrong: list[dict[str, Any]], shown: str, tmp_path: Path
) -> None:
    file = tmp_path / "imagerepo.yaml"
    file.write_text(yaml.safe_dump({"nodes": wrong}))
    with pytest.raises(SettingsError) as caught:
        load(file, {}, {})
    assert shown in str(caught.value)
