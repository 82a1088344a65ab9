"""The plain URIs."""

from starlette.routing import BaseRoute

from imagerepo.flows.repository import Repository
from imagerepo.model.caller import Role
from imagerepo.rest import holds, worklist
from imagerepo.rest.archive import Archive
from imagerepo.rest.changes import ChangesPage
from imagerepo.rest.header import header
from imagerepo.rest.image import Image
from imagerepo.web.endpoint import Verb, get, route
from imagerepo.web.first_image import FirstImage
from imagerepo.web.state import ServingState


def routes(repository: Repository, state: ServingState) -> list[BaseRoute]:
    """Objects by their UID alone, and what is about all of them."""
    first_image = FirstImage()
    archive = Archive(first_image)
    changes = ChangesPage(repository.changes, repository.changes.news(), state.draining)
    return [
        get(repository, "/image/{uid}", Image(first_image).file),
        get(repository, "/image/{uid}/header", header),
        get(repository, "/series/{uid}", archive.series),
        get(repository, "/study/{uid}", archive.study),
        route(
            repository,
            "/study/{uid}/hold",
            {
                "GET": Verb(Role.READ, holds.show),
                "PUT": Verb(Role.ADMIN, holds.set_hold),
                "DELETE": Verb(Role.ADMIN, holds.lift),
            },
        ),
        get(repository, "/holds", holds.listing),
        get(repository, "/changes", changes.page),
        get(repository, "/study/{uid}/performed-steps", worklist.performed),
        get(repository, "/worklist", worklist.listing),
        route(
            repository,
            "/worklist/{id}",
            {
                "GET": Verb(Role.READ, worklist.show),
                "PUT": Verb(Role.WRITE, worklist.put),
                "DELETE": Verb(Role.WRITE, worklist.remove),
            },
        ),
    ]
