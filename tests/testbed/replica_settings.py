"""`imagerepo.yaml`: settings with which `imagerepo serve --config` runs as a replica behind the bed's HAProxy."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import yaml

from tests.testbed.daemon import BedError
from tests.testbed.plan import HOST, Plan

FILE: Final = "imagerepo.yaml"
SECRETS: Final = "secrets"
"""Folder of the files that the settings name."""
_COMMAND: Final = Path(sys.executable).with_name("imagerepo")
_UPGRADED_WITHIN: Final = 120.0  # seconds


@dataclass(frozen=True, slots=True)
class Shared:
    """What replicas of one repository share."""

    database: str  # a name, in the bed's PostgreSQL
    bucket_prefix: str = "imagerepo"


def write(folder: Path, plan: Plan, shared: Shared) -> Path:
    """Write the file and those with secrets into a folder; it is of the first replica, options make it another's."""
    secrets = folder / SECRETS
    secrets.mkdir(mode=0o700, exist_ok=True)
    _write(secrets / "postgres", plan.postgres.password)
    _write(secrets / "s3", plan.s3.secret_key)
    first = plan.haproxy.replicas[0]
    settings = {
        "data": str(folder / "replicas" / first.name),
        "listen": f"{HOST}:{first.http_port}",
        "dicom_listen": f"{HOST}:{first.dimse_port}",
        "public_url": f"http://{HOST}:{plan.haproxy.http_port}",
        "trusted_proxies": [HOST],
        "cluster": {
            "database": {
                "url": f"postgresql://{plan.postgres.role}@{HOST}:{plan.postgres.port}/{shared.database}",
                "password_file": str(secrets / "postgres"),
            },
            "store": {
                "endpoints": [plan.s3.endpoint, f"http://{HOST}:{plan.s3.lifecycle_port}"],
                "access_key": plan.s3.access_key,
                "secret_key_file": str(secrets / "s3"),
                "bucket_prefix": shared.bucket_prefix,
            },
        },
    }
    written = folder / FILE
    written.write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
    return written


def upgrade_schema(settings: Path) -> None:
    """Make the tables, or bring them up to date. Raises BedError."""
    done = subprocess.run(
        [str(_COMMAND), "schema", "upgrade", "--config", str(settings)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_UPGRADED_WITHIN,
        check=False,
    )
    if done.returncode:
        said = done.stderr.strip().splitlines()
        raise BedError(f"imagerepo schema upgrade failed: {said[-1] if said else f'status {done.returncode}'}")


def _write(path: Path, secret: str) -> None:
    path.touch(mode=0o600)
    path.write_text(secret, encoding="ascii")
