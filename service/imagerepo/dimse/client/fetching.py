"""Receiving what a C-GET sends: each instance becomes a Part 10 file, named by its UID.

A file appears when it is whole: until then it has another name.

Source: PS3.4 C.4.3 (C-GET), PS3.7 section 9.1.1 (C-STORE), PS3.10 section 7.1.
"""

from contextlib import suppress
from pathlib import Path

from imagerepo.dicom.part10 import make_meta
from imagerepo.dimse.client.conversation import Served
from imagerepo.dimse.messages import Command, CommandField, Element, Status
from imagerepo.dimse.negotiate import PresentationContext
from imagerepo.model.uids import Uid, is_uid


class Folder:
    """Takes C-STORE sub-operations into a folder: a conversation.Service."""

    def __init__(self, folder: Path, source_ae_title: str) -> None:
        """Begin with an existing folder; the files name the AE title they came from."""
        self._folder = folder
        self._source = source_ae_title
        self.stored = 0  # instances
        self.size = 0  # bytes of their files
        self.problem = ""  # why the last one that could not be written was not

    def __call__(self, context: PresentationContext, command: Command) -> Served:
        """Begin to receive one instance."""
        instance_uid = command.text(Element.AFFECTED_SOP_INSTANCE_UID)
        if command.field != CommandField.C_STORE_RQ:
            return Refused(Status.UNRECOGNIZED_OPERATION)
        if not is_uid(instance_uid) or not is_uid(context.abstract_syntax) or not command.has_data_set:
            return Refused(Status.INVALID_SOP_INSTANCE)
        meta = make_meta(Uid(context.abstract_syntax), Uid(instance_uid), Uid(context.transfer_syntax), self._source)
        return _Received(self, self._folder / f"{instance_uid}.dcm", meta)


class Refused:
    """A request that is not done."""

    def __init__(self, status: Status) -> None:
        self._status = status

    def write(self, piece: memoryview) -> None:
        """Drop it."""

    def complete(self) -> int:
        """Say so."""
        return self._status

    def close(self) -> None:
        """Nothing is held."""


class _Received:
    """One instance on its way to a file."""

    def __init__(self, folder: Folder, path: Path, meta: bytes) -> None:
        self._folder = folder
        self._path = path
        self._partial = path.with_suffix(".part")
        self._size = 0
        self._failed = False
        self._file = None
        try:
            self._file = self._partial.open("wb")
        except OSError as error:
            self._fail(error)
        self.write(memoryview(meta))

    def write(self, piece: memoryview) -> None:
        """Append a piece; after a failure drop it, since the sender cannot be told before its end."""
        if self._file is None or self._failed:
            return
        try:
            self._file.write(piece)
            self._size += len(piece)
        except OSError as error:
            self._fail(error)

    def complete(self) -> int:
        """Give the file its name."""
        if self._file is None or self._failed:
            return Status.OUT_OF_RESOURCES
        try:
            self._file.close()
            self._partial.replace(self._path)
        except OSError as error:
            self._fail(error)
            return Status.OUT_OF_RESOURCES
        self._folder.stored += 1
        self._folder.size += self._size
        return Status.SUCCESS

    def close(self) -> None:
        """Remove what did not become whole."""
        with suppress(OSError):
            if self._file is not None:
                self._file.close()
            self._partial.unlink(missing_ok=True)

    def _fail(self, error: OSError) -> None:
        self._failed = True
        self._folder.problem = f"{self._path}: {error.strerror}"
