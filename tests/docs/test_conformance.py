"""docs/conformance.md says what the code does."""

from pathlib import Path

from starlette.routing import Route

from imagerepo.adapters.memory import Memory, MemoryCommits
from imagerepo.dicomweb.routes import routes
from imagerepo.dimse import conformance
from imagerepo.dimse.negotiate import storage
from imagerepo.dimse.services import Services
from imagerepo.dimse.table import entries
from imagerepo.flows.repository import Repository
from imagerepo.settings import Settings
from tests.harness.in_memory import assemble

STATEMENT = Path(__file__).parents[2] / "docs" / "conformance.md"


def repository() -> Repository:
    memory = Memory()
    return assemble(Settings(), memory, MemoryCommits(memory))


def test_the_tables_are_those_that_the_code_makes() -> None:
    written = STATEMENT.read_text()
    assert conformance.filled(written, Settings()) == written, "run `imagerepo conformance --into docs/conformance.md`"


def test_every_service_of_the_table_of_services_is_stated() -> None:
    served = Services(entries(repository())).sop_classes
    assert served == conformance.served() | storage(Settings().dimse)


def test_every_resource_of_dicomweb_is_stated_with_its_methods() -> None:
    lines = [line for line in STATEMENT.read_text().splitlines() if line.startswith("| `/")]
    stated = {path.strip("` "): line.rpartition("|")[0].rpartition("|")[2] for line in lines for path in _paths(line)}
    for route in routes(repository()):
        assert isinstance(route, Route)
        path = route.path.removeprefix("/dicom-web").replace(":path", "")
        allowed = set(route.app._allow.split(", ")) - {"OPTIONS", "HEAD"}
        assert {word for word in ("GET", "POST", "DELETE") if word in stated[path]} == allowed, path


def _paths(line: str) -> list[str]:
    return line.split("|")[1].split(",")
