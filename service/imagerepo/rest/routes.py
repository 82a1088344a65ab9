"""The plain URIs."""

from starlette.routing import BaseRoute

from imagerepo.flows.repository import Repository
from imagerepo.rest.archive import Archive
from imagerepo.rest.image import Image
from imagerepo.web.endpoint import get
from imagerepo.web.first_image import FirstImage


def routes(repository: Repository) -> list[BaseRoute]:
    """Objects by their UID alone."""
    first_image = FirstImage()
    archive = Archive(first_image)
    return [
        get(repository, "/image/{uid}", Image(first_image).file),
        get(repository, "/series/{uid}", archive.series),
        get(repository, "/study/{uid}", archive.study),
    ]
