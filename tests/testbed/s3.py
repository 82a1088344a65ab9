"""S3 as the bed's gateways speak it: a client, and whether an object can really be stored."""

import http.client
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from tests.testbed.plan import HOST, S3

_WITHIN = 20.0  # seconds; a gateway answers what is unavailable after 15


@contextmanager
def client(access: S3, attempts: int = 1) -> Iterator[Any]:
    """A boto3 client of the bed's user; `attempts` of 1: nothing is tried again."""
    made = boto3.client(
        "s3",
        endpoint_url=access.endpoint,
        region_name="default",
        aws_access_key_id=access.access_key,
        aws_secret_access_key=access.secret_key,
        config=Config(
            s3={"addressing_style": "path"},
            connect_timeout=_WITHIN,
            read_timeout=_WITHIN,
            retries={"total_max_attempts": attempts},
            # Ceph 16 does not know the checksums that boto3 adds by itself.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    )
    try:
        yield made
    finally:
        made.close()


def answers(port: int) -> bool:
    """Whether a gateway speaks HTTP there."""
    connection = http.client.HTTPConnection(HOST, port, timeout=_WITHIN)
    try:
        connection.request("GET", "/")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def works(access: S3) -> bool:
    """Whether an object can be stored, read back and deleted, in a bucket that is gone afterwards."""
    bucket, body = f"testbed-{uuid.uuid4()}", uuid.uuid4().bytes
    with client(access) as made:
        try:
            made.create_bucket(Bucket=bucket)
            made.put_object(Bucket=bucket, Key="probe", Body=body)
            with made.get_object(Bucket=bucket, Key="probe")["Body"] as stored:
                same = stored.read() == body
            made.delete_object(Bucket=bucket, Key="probe")
            made.delete_bucket(Bucket=bucket)
        except (BotoCoreError, ClientError):
            return False
        return same
