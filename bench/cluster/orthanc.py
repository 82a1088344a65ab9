"""Debian's Orthanc with its PostgreSQL index, on the bed's PostgreSQL; files in its own folder."""

from typing import Any, ClassVar

from bench.cluster.on_bed import OnBed, missing_bed
from bench.servers.orthanc import PLUGIN, Orthanc
from tests.testbed.plan import HOST

INDEX = PLUGIN.with_name("libOrthancPostgreSQLIndex.so")


class OrthancPostgres(OnBed, Orthanc):
    """The open-source peer, as its makers have it for large archives."""

    name = "orthanc"
    what = (
        "Debian's Orthanc, orthanc-dicomweb and orthanc-postgresql: index in the same PostgreSQL, files fsynced in a "
        "local folder, one process (its version cannot share a database)"
    )
    below: ClassVar[tuple[str, ...]] = ("postgres",)

    @classmethod
    def missing(cls) -> str:
        """Say whether its plugins and the bed's programs are there."""
        if not INDEX.exists():
            return f"{INDEX.name} is not installed: run bench/setup"
        return super().missing() or missing_bed()

    def populate(self) -> None:
        """Make a database."""
        super().populate()
        self.database = self.lasting.enter_context(self.bed.postgres.database())

    def settings(self) -> dict[str, Any]:
        """Where its index is; more connections made nothing quicker."""
        inherited = super().settings()
        postgres = self.bed.plan.postgres
        return inherited | {
            "Plugins": [*inherited["Plugins"], str(INDEX)],
            "PostgreSQL": {
                "EnableIndex": True,
                "EnableStorage": False,
                "Host": HOST,
                "Port": postgres.port,
                "Database": self.database,
                "Username": postgres.role,
                "Password": postgres.password,
                "EnableSsl": False,
                "Lock": True,
            },
        }
