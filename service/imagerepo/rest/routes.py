"""The plain URIs."""

from starlette.routing import BaseRoute

from imagerepo.flows.repository import Repository
from imagerepo.model.caller import Role
from imagerepo.rest import holds, worklist
from imagerepo.rest.archive import Archive
from imagerepo.rest.header import header
from imagerepo.rest.image import Image
from imagerepo.web.endpoint import Verb, get, route
from imagerepo.web.first_image import FirstImage


def routes(repository: Repository) -> list[BaseRoute]:
    """Objects by their UID alone."""
    first_image = FirstImage()
    archive = Archive(first_image)
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
