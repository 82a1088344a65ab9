"""The paths of DICOMweb.

Source: PS3.18 sections 10.1 (Studies Service: Resources), Tables 10.4.1-1, 10.4.1-2, 10.5.1-1, 10.6.1-1.
"""

from starlette.routing import BaseRoute

from imagerepo.dicomweb import delete, qido, stow
from imagerepo.dicomweb.bulkdata import Bulkdata
from imagerepo.dicomweb.frames import Frames
from imagerepo.dicomweb.metadata import MetadataHandlers
from imagerepo.dicomweb.rendered import Rendered
from imagerepo.dicomweb.wado import Wado
from imagerepo.flows.repository import Repository
from imagerepo.model.caller import Role
from imagerepo.web.endpoint import Verb, get, route
from imagerepo.web.first_image import FirstImage

_STUDIES = "/dicom-web/studies"
_STUDY = f"{_STUDIES}/{{study}}"
_SERIES = f"{_STUDY}/series/{{series}}"
_INSTANCE = f"{_SERIES}/instances/{{instance}}"


def routes(repository: Repository) -> list[BaseRoute]:
    """Those that are asked for most come first: they are tried in order."""
    first_image = FirstImage()
    wado = Wado(first_image)
    frames = Frames(wado, first_image)
    metadata = MetadataHandlers(wado)
    bulkdata = Bulkdata(wado, frames)
    rendered = Rendered(wado, first_image)
    return [
        route(
            repository,
            _INSTANCE,
            {"GET": Verb(Role.READ, wado.instance), "DELETE": Verb(Role.DELETE, delete.instance)},
        ),
        get(repository, f"{_INSTANCE}/frames/{{frames}}", frames.frames),
        route(
            repository,
            _STUDIES,
            {"GET": Verb(Role.READ, qido.studies), "POST": Verb(Role.WRITE, stow.store)},
        ),
        get(repository, f"{_INSTANCE}/metadata", metadata.instance),
        get(repository, f"{_SERIES}/metadata", metadata.series),
        get(repository, f"{_STUDY}/metadata", metadata.study),
        get(repository, f"{_STUDY}/series", qido.study_series),
        get(repository, f"{_STUDY}/instances", qido.study_instances),
        get(repository, f"{_SERIES}/instances", qido.series_instances),
        route(
            repository,
            _SERIES,
            {"GET": Verb(Role.READ, wado.series), "DELETE": Verb(Role.DELETE, delete.series)},
        ),
        route(
            repository,
            _STUDY,
            {
                "GET": Verb(Role.READ, wado.study),
                "POST": Verb(Role.WRITE, stow.store_to_study),
                "DELETE": Verb(Role.DELETE, delete.study),
            },
        ),
        get(repository, f"{_INSTANCE}/frames/{{frames}}/rendered", rendered.frames),
        get(repository, f"{_INSTANCE}/rendered", rendered.instance),
        get(repository, f"{_SERIES}/rendered", rendered.series),
        get(repository, f"{_STUDY}/rendered", rendered.study),
        get(repository, f"{_INSTANCE}/frames/{{frames}}/thumbnail", rendered.frame_thumbnail),
        get(repository, f"{_INSTANCE}/thumbnail", rendered.instance_thumbnail),
        get(repository, f"{_SERIES}/thumbnail", rendered.series_thumbnail),
        get(repository, f"{_STUDY}/thumbnail", rendered.study_thumbnail),
        get(repository, f"{_INSTANCE}/bulkdata/{{tag:path}}", bulkdata.value),
        get(repository, "/dicom-web/series", qido.series),
        get(repository, "/dicom-web/instances", qido.instances),
    ]
