"""A pynetdicom storage SCP that only writes what it receives.

Run as a script: port, AE title, folder.
"""

import sys
from pathlib import Path
from typing import Any

from pynetdicom import AE, AllStoragePresentationContexts, evt

SUCCESS = 0x0000


def main(port: int, ae_title: str, folder: Path) -> None:
    """Serve until the process is ended."""

    def store(event: Any) -> int:  # noqa: ANN401 - pynetdicom's event has no narrower public type
        (folder / f"{event.request.AffectedSOPInstanceUID}.dcm").write_bytes(event.encoded_dataset())
        return SUCCESS

    entity = AE(ae_title)
    entity.maximum_associations = 16
    entity.maximum_pdu_size = 131_072
    entity.supported_contexts = AllStoragePresentationContexts
    entity.start_server(("127.0.0.1", port), evt_handlers=[(evt.EVT_C_STORE, store)])


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
