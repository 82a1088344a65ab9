"""Nodes are read again while serving: no association notices."""

import time
from pathlib import Path

from pydicom.data import get_testdata_file
from typer.testing import CliRunner

from imagerepo.cli.main import command_line
from imagerepo.dimse.client import levels, query
from imagerepo.dimse.client.association import Connection
from imagerepo.dimse.client.levels import QueryLevel, Root
from imagerepo.dimse.client.negotiation import propose
from imagerepo.dimse.query_retrieve import Model
from imagerepo.errors import PeerError
from imagerepo.model.peer import Peer
from tests.harness.dcmtk_peers import storescp
from tests.harness.server import Server

STUDY = "StudyInstanceUID=1.3.6.1.4.1.5962.1.2.1.20040119072730.12322"


def test_a_node_that_is_entered_is_a_destination_within_ten_seconds(tmp_path: Path) -> None:
    config = tmp_path / "imagerepo.yaml"
    config.write_text("nodes: []\n")
    path = get_testdata_file("CT_small.dcm")
    assert path
    identifier = levels.retrieval(QueryLevel.STUDY, Root.STUDY, [STUDY])
    contexts = propose([(Model.STUDY_ROOT.move, query.SYNTAXES)])
    with (
        storescp(tmp_path / "received", "WS1") as port,
        Server(tmp_path / "data", "--config", str(config)) as server,
        # Opened before the change, and used after it.
        Connection.open(Peer("we", "IMAGEREPO", "127.0.0.1", server.dimse), "OURS", contexts) as connection,
    ):
        sent = CliRunner().invoke(command_line(), ["send", f"IMAGEREPO@127.0.0.1:{server.dimse}", str(path)])
        assert sent.exit_code == 0, sent.output

        def moved() -> bool:
            try:
                *_, last = query.move(connection, Model.STUDY_ROOT, identifier, "WS1")
            except PeerError as error:
                if "A801H" not in str(error):
                    raise
                return False
            return last.completed == 1

        assert not moved()
        config.write_text(f"nodes: [{{name: ws, ae_title: WS1, host: 127.0.0.1, port: {port}}}]\n")
        until = time.monotonic() + 10
        while not moved():
            assert time.monotonic() < until, server.said()
            time.sleep(0.2)
        (received,) = (tmp_path / "received").iterdir()
        assert received.name.startswith("CT.")
