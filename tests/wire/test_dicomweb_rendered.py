"""Pictures over HTTP: what is painted, what is refused, and that nothing of it harms the server."""

import io
import signal
import threading
from collections.abc import Iterator
from email import message_from_bytes

import httpx
import numpy as np
import pydicom
import pytest
from dicomweb_client import DICOMwebClient
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGBaseline8Bit

from imagerepo.model.events import Action
from imagerepo.settings import Settings
from imagerepo.settings_rendering import Rendering
from tests.harness.painters import end, painters
from tests.wire.dicomweb_samples import make, read, sample
from tests.wire.dicomweb_serving import Served, serving, stow


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving(Settings(rendering=Rendering(time_limit=5, cache=1 << 20))) as one:
        yield one


@pytest.fixture(scope="module")
def client(served: Served) -> Iterator[httpx.Client]:
    with served.client() as one:
        yield one


def store(client: httpx.Client, content: bytes) -> str:
    """Its URL."""
    response = stow(client, [content])
    assert response.status_code in {200, 202}, response.text
    data_set = read(content)
    return (
        f"/dicom-web/studies/{data_set.StudyInstanceUID}/series/{data_set.SeriesInstanceUID}"
        f"/instances/{data_set.SOPInstanceUID}"
    )


def image(response: httpx.Response) -> Image.Image:
    assert response.status_code == 200, response.text
    picture = Image.open(io.BytesIO(response.content))
    assert response.headers["content-type"] == f"image/{picture.format.lower()}"
    return picture


def parts(response: httpx.Response) -> list[Image.Image]:
    assert response.status_code == 200, response.text
    head = f"Content-Type: {response.headers['content-type']}\r\n\r\n".encode()
    found = message_from_bytes(head + response.content)
    assert found.get_content_type() == "multipart/related"
    return [Image.open(io.BytesIO(part.get_payload(decode=True))) for part in found.get_payload()]


def changed(name: str, **elements: object) -> bytes:
    """A sample under another UID with other elements."""
    data_set = read(sample(name))
    data_set.SOPInstanceUID = pydicom.uid.generate_uid()
    for keyword, value in elements.items():
        setattr(data_set, keyword, value)
    out = io.BytesIO()
    data_set.save_as(out)
    return out.getvalue()


def test_an_instance_is_a_jpeg_unless_something_else_is_asked_for(client: httpx.Client) -> None:
    url = store(client, sample("CT_small.dcm"))
    assert image(client.get(f"{url}/rendered")).format == "JPEG"
    assert image(client.get(f"{url}/rendered", headers={"Accept": "image/png"})).format == "PNG"
    assert image(client.get(f"{url}/rendered?accept=image/png")).format == "PNG"
    assert image(client.get(f"{url}/rendered", headers={"Accept": "image/*;q=0.5, image/png"})).format == "PNG"
    refused = client.get(f"{url}/rendered", headers={"Accept": "image/gif"})
    assert refused.status_code == 406
    assert "image/jpeg or image/png" in refused.text


def test_a_window_and_a_viewport_change_the_picture(client: httpx.Client) -> None:
    url = store(client, sample("CT_small.dcm"))
    plain = np.asarray(image(client.get(f"{url}/rendered?accept=image/png")))
    narrow = np.asarray(image(client.get(f"{url}/rendered?accept=image/png&window=40,80,linear")))
    assert plain.shape == narrow.shape == (128, 128)
    assert set(np.unique(narrow)) > {0, 255}
    assert not np.array_equal(plain, narrow)
    assert image(client.get(f"{url}/rendered?viewport=64,32")).size == (32, 32)
    assert image(client.get(f"{url}/rendered?viewport=64,64,0,0,64,32")).size == (64, 32)
    assert image(client.get(f"{url}/rendered?viewport=400,400,,,64,-64")).size == (400, 400)


@pytest.mark.parametrize(
    "query",
    [
        "window=40", "window=40,0.5,linear", "window=40,0,sigmoid", "window=nan,10,linear", "window=40,400,cubic",
        "viewport=0,10", "viewport=10", "viewport=10,10,0,0,0,5", "viewport=9999999,10", "viewport=1,1,-1,0,5,5",
        "quality=0", "quality=101", "quality=x", "annotation=secret",
    ],
)  # fmt: skip
def test_a_parameter_that_says_nothing_is_refused_with_a_sentence(client: httpx.Client, query: str) -> None:
    url = store(client, sample("CT_small.dcm"))
    refused = client.get(f"{url}/rendered?{query}")
    assert refused.status_code == 400
    assert query.partition("=")[0] in refused.text


def test_a_region_beyond_the_image_is_refused(client: httpx.Client) -> None:
    url = store(client, sample("CT_small.dcm"))
    refused = client.get(f"{url}/rendered?viewport=10,10,100,100,100,100")
    assert (refused.status_code, "128 x 128" in refused.text) == (406, True)


def test_annotations_are_not_painted_and_that_is_said(client: httpx.Client) -> None:
    url = store(client, sample("CT_small.dcm"))
    assert client.get(f"{url}/rendered?annotation=patient").headers["warning"].startswith("299 ")


def test_frames_are_pictures_one_alone_several_as_parts(client: httpx.Client) -> None:
    url = store(client, sample("color3d_jpeg_baseline.dcm"))
    assert image(client.get(f"{url}/frames/120/rendered")).size == (640, 480)
    several = parts(client.get(f"{url}/frames/2,1,2/rendered?viewport=64,64"))
    assert [one.size for one in several] == [(64, 48)] * 3
    assert several[0].tobytes() == several[2].tobytes() != several[1].tobytes()
    everything = client.get(f"{url}/rendered?viewport=8,8", headers={"Accept": 'multipart/related; type="image/jpeg"'})
    assert len(parts(everything)) == 120
    assert client.get(f"{url}/frames/121/rendered").status_code == 404
    assert client.get(f"{url}/frames/0/rendered").status_code == 400


@pytest.mark.parametrize("frames", ["1,121", "121,1", "1,2,999999999,3"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_list_with_a_frame_that_does_not_exist_is_not_found_before_anything_is_sent(
    client: httpx.Client, frames: str, method: str
) -> None:
    url = store(client, sample("color3d_jpeg_baseline.dcm"))
    assert client.request(method, f"{url}/frames/{frames}/rendered?viewport=8,8").status_code == 404


def test_more_frames_than_one_answer_holds_are_refused_with_a_sentence_and_can_be_had_by_number(
    client: httpx.Client,
) -> None:
    count = 6_000_000
    pixels = bytes(2 * count)
    url = store(client, changed("CT_small.dcm", Rows=1, Columns=1, NumberOfFrames=count, PixelData=pixels))
    parts_wanted = {"Accept": 'multipart/related; type="image/png"'}
    assert client.head(f"{url}/rendered", headers=parts_wanted).status_code == 413
    refused = client.get(f"{url}/rendered", headers=parts_wanted)
    assert refused.status_code == 413
    assert f"{count} frames" in refused.text
    assert "/frames/1,2/rendered" in refused.text
    listed = client.get(f"{url}/frames/{','.join(['1'] * 10_001)}/rendered", headers=parts_wanted)
    assert listed.status_code == 413
    assert len(parts(client.get(f"{url}/frames/1,{count}/rendered", headers=parts_wanted))) == 2
    assert image(client.get(f"{url}/rendered")).size == (1, 1)
    assert image(client.get(f"{url}/thumbnail")).format == "JPEG"


def test_a_study_is_all_its_images_and_leaves_out_what_is_none(client: httpx.Client) -> None:
    study = "1.2.3.77"
    for number in range(3):
        store(client, make(study=study, series=f"1.2.3.77.{number % 2}", size=32))
    no_image = changed("test-SR.dcm", StudyInstanceUID=study, SeriesInstanceUID="1.2.3.77.9")
    broken = changed("JPEG2000-embedded-sequence-delimiter.dcm", StudyInstanceUID=study)
    assert stow(client, [no_image, broken]).status_code == 200
    rendered = client.get(f"/dicom-web/studies/{study}/rendered")
    assert [one.size for one in parts(rendered)] == [(32, 32)] * 3
    one_series = client.get(
        f"/dicom-web/studies/{study}/series/1.2.3.77.0/rendered",
        headers={"Accept": "multipart/related; type=image/png"},
    )
    assert [one.format for one in parts(one_series)] == ["PNG", "PNG"]
    assert client.get(f"/dicom-web/studies/{study}/series/1.2.3.77.9/rendered").status_code == 406
    assert client.get("/dicom-web/studies/1.9.9.9/rendered").status_code == 404
    assert client.get(f"/dicom-web/studies/{study}/rendered", headers={"Accept": "image/jpeg"}).status_code == 406


def test_thumbnails_fit_what_is_asked_for(client: httpx.Client) -> None:
    url = store(client, make(study="1.2.3.78", size=300))
    study, _, rest = url.partition("/series/")
    series = rest.partition("/instances/")[0]
    for path in (study, f"{study}/series/{series}", url, f"{url}/frames/1"):
        assert image(client.get(f"{path}/thumbnail")).size == (128, 128)
        assert image(client.get(f"{path}/thumbnail?viewport=40,90")).size == (40, 40)
    assert client.get(f"{study}/thumbnail?viewport=4,4,0,0,1,1").status_code == 400
    assert client.get("/dicom-web/studies/1.9.9.9/thumbnail").status_code == 404


def test_what_has_no_image_has_no_thumbnail(client: httpx.Client) -> None:
    url = store(client, changed("test-SR.dcm", StudyInstanceUID="1.2.3.79"))
    for path in (url, url.partition("/series/")[0]):
        refused = client.get(f"{path}/thumbnail")
        assert refused.status_code == 406
        assert refused.text.strip()


def test_what_a_client_has_already_is_not_sent_again(client: httpx.Client) -> None:
    url = store(client, sample("CT_small.dcm"))
    first = client.get(f"{url}/rendered")
    again = client.get(f"{url}/rendered", headers={"If-None-Match": first.headers["etag"]})
    other = client.get(f"{url}/rendered?window=1,2", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, other.status_code) == (304, 200)
    assert client.head(f"{url}/rendered").headers["content-length"] == str(len(first.content))


def test_looking_at_pictures_is_entered_in_the_journal(served: Served, client: httpx.Client) -> None:
    url = store(client, make(study="1.2.3.80", size=8))
    client.get(url.partition("/series/")[0] + "/thumbnail")
    assert any(("study", "1.2.3.80") in one.detail for one in served.journal(Action.READ))


def test_dicomweb_client_gets_what_pydicom_shows(served: Served, client: httpx.Client) -> None:
    store(client, sample("CT_small.dcm"))
    data_set = read(sample("CT_small.dcm"))
    uids = (data_set.StudyInstanceUID, data_set.SeriesInstanceUID, data_set.SOPInstanceUID)
    web = DICOMwebClient(url=f"{served.url}/dicom-web")
    png = web.retrieve_instance_rendered(*uids, media_types=("image/png",))
    stored = data_set.pixel_array.astype(float)
    expected = 255 * (stored - stored.min()) / (stored.max() - stored.min())
    assert np.abs(np.asarray(Image.open(io.BytesIO(png))) - expected).max() <= 0.51
    assert web.retrieve_instance_frames_rendered(*uids, frame_numbers=[1], media_types=("image/jpeg",))


def bomb() -> bytes:
    """A JPEG that says it is 60,000 x 60,000 pixels."""
    out = io.BytesIO()
    Image.new("L", (8, 8)).save(out, "JPEG")
    stream = bytearray(out.getvalue())
    at = stream.index(b"\xff\xc0") + 5
    stream[at : at + 4] = (60000).to_bytes(2) * 2
    data_set = read(sample("SC_rgb_jpeg_dcmtk.dcm"))
    data_set.SOPInstanceUID = pydicom.uid.generate_uid()
    data_set.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    data_set.Rows = data_set.Columns = 60000
    data_set.SamplesPerPixel, data_set.PhotometricInterpretation = 1, "MONOCHROME2"
    data_set.PixelData = encapsulate([bytes(stream)])
    data_set["PixelData"].is_undefined_length = True
    content = io.BytesIO()
    data_set.save_as(content)
    return content.getvalue()


def shredded(seed: int) -> bytes:
    """A compressed image whose stream is random after its first bytes."""
    name = ("JPEG2000.dcm", "MR_small_jpeg_ls_lossless.dcm", "SC_rgb_rle.dcm", "JPEG-LL.dcm")[seed % 4]
    content = bytearray(changed(name))
    generator = np.random.default_rng(seed)
    start = len(content) // 2
    for place in generator.integers(start, len(content) - 16, 40):
        content[place] = generator.integers(256)
    return bytes(content)


def test_a_hostile_image_is_refused_with_a_sentence_and_the_next_one_is_painted(client: httpx.Client) -> None:
    good = store(client, make(study="1.2.3.81", size=16))
    hostile = [bomb(), *(shredded(seed) for seed in range(12))]
    hostile.append(changed("CT_small.dcm", Rows=0))
    hostile.append(changed("CT_small.dcm", PhotometricInterpretation="CIELAB"))
    for content in hostile:
        if stow(client, [content]).status_code != 200:
            continue  # refused at the door
        found = client.get(f"/dicom-web/instances?SOPInstanceUID={read(content).SOPInstanceUID}").json()
        url = found[0]["00081190"]["Value"][0]
        answer = client.get(f"{url}/rendered")
        assert answer.status_code in {200, 406}, answer.text
        assert answer.status_code == 200 or answer.text.startswith(("no picture", "instance"))
    assert image(client.get(f"{good}/rendered?viewport=7,7")).size == (7, 7)


def test_a_painter_that_dies_takes_nothing_with_it(client: httpx.Client) -> None:
    good = store(client, make(study="1.2.3.82", size=16))
    image(client.get(f"{good}/rendered?viewport=9,9"))
    for pid in painters():
        end(pid, signal.SIGKILL)
    assert image(client.get(f"{good}/rendered?viewport=10,10")).size == (10, 10)


def test_more_than_are_waited_for_are_told_to_come_back() -> None:
    with serving(Settings(rendering=Rendering(queue=1, cache=0))) as busy, busy.client() as client:
        url = store(client, sample("color3d_jpeg_baseline.dcm"))
        answers: list[int] = []

        def ask(size: int) -> None:
            answers.append(client.get(f"{url}/frames/{size}/rendered?viewport={size},{size}").status_code)

        threads = [threading.Thread(target=ask, args=(size,)) for size in range(50, 60)]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
        assert set(answers) == {200, 503}
