"""DICOM JSON as values, and back."""

import json
from collections.abc import Mapping

import pytest

from imagerepo.dicom import header, part10, samples
from imagerepo.dicom import json as dicom_json
from imagerepo.dicom.encoding import DEFLATED_SYNTAXES
from imagerepo.errors import BadDicomError


def test_values_are_read_by_their_kind() -> None:
    document = b"""{"00080008":{"vr":"CS","Value":["A",null]},"00100010":{"vr":"PN","Value":[{"Alphabetic":"Doe^J",
        "Phonetic":"d"},null]},"00101010":{"vr":"AS"},"00400275":{"vr":"SQ","Value":[{"00401001":{"vr":"SH",
        "Value":["7"]}},{}]},"00420011":{"vr":"OB","InlineBinary":"AAA="},"7FE00010":{"vr":"OW","BulkDataURI":"/x"}}"""
    found = header.read(document)
    assert found["00080008"].values == ("A", "")
    assert found["00100010"].values == ("Doe^J==d", "")
    assert found["00101010"].values == ()
    (item, empty) = found["00400275"].values
    assert isinstance(item, Mapping)
    assert item["00401001"].values == ("7",)
    assert empty == {}
    assert (found["00420011"].inline, found["7FE00010"].uri) == ("AAA=", "/x")


@pytest.mark.parametrize("path", samples.files(), ids=lambda path: path.name)
def test_what_is_read_is_written_again(path) -> None:
    content = path.read_bytes()
    try:
        meta = part10.read_meta(content)
        data_set = memoryview(content)[meta.data_set_offset :]
        _, layout = part10.read_data_set(data_set, meta.transfer_syntax, meta.data_set_offset)
    except BadDicomError:
        return
    if meta.transfer_syntax in DEFLATED_SYNTAXES:
        return
    head = content[meta.data_set_offset : dicom_json.header_end(layout)]
    document = dicom_json.encode(head, meta.transfer_syntax, bulk_data_uri="/bulkdata")
    members = [header.write(tag, one, "http://here") for tag, one in header.read(document).items()]
    again = json.loads(f"{{{','.join(members)}}}")
    expected = json.loads(document.replace(b'"BulkDataURI":"', b'"BulkDataURI":"http://here'))
    assert again == expected
