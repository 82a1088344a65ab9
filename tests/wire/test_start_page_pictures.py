"""The start page shows what came in."""

import io
import re
from html import unescape

from PIL import Image

from imagerepo.settings import Settings
from tests.wire.dicomweb_samples import make, sample
from tests.wire.dicomweb_serving import serving, stow


def pictures(page: str) -> list[str]:
    return [unescape(found) for found in re.findall(r'<img src="([^"]+)"', page)]


def test_each_study_has_a_picture_that_the_page_may_load() -> None:
    with serving() as served, served.client() as client:
        stow(client, [make(study="1.2.3.4", size=64), sample("CT_small.dcm"), sample("SC_rgb.dcm")])
        page = client.get("/")
        assert "img-src 'self'" in page.headers["content-security-policy"]
        found = pictures(page.text)
        assert len(found) == 3
        for one in found:
            assert one.startswith("/dicom-web/")
            picture = client.get(one)
            assert picture.headers["content-type"] == "image/jpeg"
            assert max(Image.open(io.BytesIO(picture.content)).size) == 64


def test_pictures_are_of_the_institution_that_the_page_is_of() -> None:
    institutions = [{"id": one, "called_ae_titles": [one.upper()]} for one in ("north", "south")]
    with serving(Settings.model_validate({"institutions": institutions})) as served, served.client() as client:
        stow(client, [make(study="1.2.3.5")], "/institutions/north/dicom-web/studies")
        (one,) = pictures(client.get("/institutions/north/").text)
        assert one.startswith("/institutions/north/dicom-web/")
        assert client.get(one).status_code == 200
        assert client.get(one.replace("north", "south")).status_code == 404
