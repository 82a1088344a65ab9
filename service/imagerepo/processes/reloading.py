"""What a worker reads again while it serves: the settings file, and the files of certificates.

What cannot be used is logged and changes nothing; associations and requests go on.
"""

import threading
import time
from pathlib import Path
from typing import Final

from imagerepo.processes.assembly import Assembled
from imagerepo.processes.settings_file import SettingsFile
from imagerepo.processes.spec import Spec
from imagerepo.settings import Institution, Settings
from imagerepo.tls.keyring import Keyring

_LOOK: Final = 2.0  # seconds between looks


def keyring(settings: Settings) -> Keyring:
    """The server's certificates; settings with tls.certificate and tls.key."""
    return Keyring(settings.tls, _authorities(settings.tenants))


def begin(spec: Spec, assembled: Assembled, keys: Keyring | None) -> None:
    """Look at the files once, then in a thread of its own: a worker that stands in for one that died is up to date."""
    if spec.config is None and keys is None:
        return
    looking = _Looking(spec, assembled, keys)
    looking.once()
    threading.Thread(target=looking.for_ever, name="reload", daemon=True).start()


class _Looking:
    def __init__(self, spec: Spec, assembled: Assembled, keys: Keyring | None) -> None:
        self._file = SettingsFile(spec.config, spec.settings)
        self._repository = assembled.repository
        self._keys = keys
        self._institutions = spec.settings.tenants

    def for_ever(self) -> None:
        while True:
            time.sleep(_LOOK)
            self.once()

    def once(self) -> None:
        found = self._file.changed()
        if found is not None:
            self._institutions = found.tenants
            self._repository.access.replace(found.tenants)
            self._repository.nodes.replace(found)
        if self._keys is not None:
            self._keys.look(_authorities(self._institutions))


def _authorities(institutions: tuple[Institution, ...]) -> list[Path]:
    """Files of those who issue client certificates."""
    return [one.client_ca for one in institutions if one.client_ca is not None]
