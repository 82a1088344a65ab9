"""A file to S3 in parts, several of them at once.

Whoever uploads has taken the key before, by an object of a few bytes that the completed upload replaces: whatever
uploads there are of that key are its own, and go with it when it fails.
"""

import base64
import hashlib
import os
import uuid
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from imagerepo.adapters.objects_s3.access import Access, Way
from imagerepo.adapters.objects_s3.attempts import Attempts, NotDoneError
from imagerepo.adapters.objects_s3.failures import Failure
from imagerepo.errors import UnavailableError

_PART: Final = 8 << 20  # bytes
_PARTS: Final = 10_000  # at the most; Amazon S3 User Guide, multipart upload limits
_AT_ONCE: Final = 4  # parts, each in memory


class Upload:
    """One upload under one key."""

    def __init__(self, access: Access, attempts: Attempts, bucket: str, key: str) -> None:
        self.claim = f"an upload is on its way: {uuid.uuid4()}".encode()
        """What is put under the key before, so that nobody else takes it."""
        self._access = access
        self._attempts = attempts
        self._object = {"Bucket": bucket, "Key": key}

    def send(self, file: Path) -> None:
        """Upload a file that does not change; nothing is left if it fails, as far as S3 answers.

        Raises:
            NotDoneError: S3 refuses it.
            UnavailableError: no answer.
        """
        try:
            begun = self._ask("create_multipart_upload")["UploadId"]
            digests = self._send_parts(begun, file)
            self._complete(begun, digests)
        except BaseException:
            # What is left now goes by the bucket's rules, and by the sweeper.
            with suppress(NotDoneError, UnavailableError):
                self._abort()
            raise

    def _send_parts(self, begun: str, file: Path) -> list[bytes]:
        """The parts' MD5, in order."""
        with file.open("rb") as opened, ThreadPoolExecutor(_AT_ONCE, "upload") as pool:
            size = os.fstat(opened.fileno()).st_size
            length = max(_PART, -(-size // _PARTS))
            sent = [
                pool.submit(self._send_part, begun, opened.fileno(), number, length)
                for number in range(1, max(1, -(-size // length)) + 1)
            ]
            wait(sent, return_when=FIRST_EXCEPTION)
            pool.shutdown(cancel_futures=True)
            return [one.result() for one in sent]

    def _send_part(self, begun: str, descriptor: int, number: int, length: int) -> bytes:
        body = os.pread(descriptor, length, (number - 1) * length)
        digest = hashlib.md5(body, usedforsecurity=False).digest()
        self._ask(
            "upload_part",
            UploadId=begun,
            PartNumber=number,
            Body=body,
            ContentMD5=base64.b64encode(digest).decode(),  # the gateway refuses what was altered on its way
        )
        return digest

    def _complete(self, begun: str, digests: list[bytes]) -> None:
        parts = [{"PartNumber": number, "ETag": f'"{one.hex()}"'} for number, one in enumerate(digests, 1)]
        try:
            self._ask("complete_multipart_upload", UploadId=begun, MultipartUpload={"Parts": parts})
        except NotDoneError as error:
            if error.failure is not Failure.NO_UPLOAD or not self._is_stored(digests):
                raise

    def _is_stored(self, digests: list[bytes]) -> bool:
        """Whether it was completed by a request whose answer was lost."""
        whole = hashlib.md5(b"".join(digests), usedforsecurity=False).hexdigest()
        return self._ask("head_object")["ETag"] == f'"{whole}-{len(digests)}"'

    def _abort(self) -> None:
        """End all uploads of the key, of which several may have begun while answers were lost, and give it back."""
        bucket, key = self._object.values()
        found = self._attempts.until_done(
            lambda url: self._access.administration(url, Way.WRITING).list_multipart_uploads(Bucket=bucket, Prefix=key)
        )
        for one in found.get("Uploads", ()):
            if one["Key"] == key:
                with suppress(NotDoneError):  # it is gone
                    self._ask("abort_multipart_upload", UploadId=one["UploadId"])
        self._ask("delete_object")

    def _ask(self, verb: str, **words: object) -> Any:  # noqa: ANN401 - what boto3 makes of an answer
        return self._attempts.until_done(
            lambda url: getattr(self._access.administration(url, Way.WRITING), verb)(**self._object, **words)
        )
