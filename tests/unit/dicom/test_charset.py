import pytest

from imagerepo.dicom.charset import charset_of, decode, decode_name
from imagerepo.dicom.part10 import read_data_set
from tests.unit.dicom.building import EXPLICIT, data_set, element

# The standard's own examples: PS3.5 annexes H (Japanese), I (Korean), J (Chinese), K (GB 2312).
NAMES = {
    "H.3.1": (
        b"\\ISO 2022 IR 87",
        b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B",
        "Yamada^Tarou=山田^太郎=やまだ^たろう",
    ),
    "H.3.2": (
        b"ISO 2022 IR 13\\ISO 2022 IR 87",
        b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3=\x1b$B;3ED\x1b(J^\x1b$BB@O:\x1b(J=\x1b$B$d$^$@\x1b(J^\x1b$B$?$m$&\x1b(J",
        "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう",
    ),
    "I.2": (
        b"\\ISO 2022 IR 149",
        b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf",
        "Hong^Gildong=洪^吉洞=홍^길동",
    ),
    "J.1": (
        b"ISO_IR 192",
        b"Wang^XiaoDong=\xe7\x8e\x8b^\xe5\xb0\x8f\xe6\x9d\xb1",
        "Wang^XiaoDong=王^小東",
    ),
    "J.2": (b"GB18030", b"Wang^XiaoDong=\xcd\xf5^\xd0\xa1\xb6\xab", "Wang^XiaoDong=王^小东"),
    "K.2": (b"\\ISO 2022 IR 58", b"Zhang^XiaoDong=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab", "Zhang^XiaoDong=张^小东"),
    "GBK": (b"GBK", b"Wang=\xcd\xf5^\xd0\xa1\xb6\xab", "Wang=王^小东"),
    "Cyrillic": (b"ISO_IR 144", b"\xbb\xee\xda\xe1\xd5\xdc\xd1\xe3\xe0\xd3", "Люксембург"),
}


@pytest.mark.parametrize("name", NAMES)
def test_the_standards_names_are_decoded(name):
    term, value, expected = NAMES[name]
    assert decode_name(value, charset_of(term)) == expected
    attributes, _ = read_data_set(
        data_set(element(0x00080005, "CS", term + b" " * (len(term) % 2)), element(0x00100010, "PN", value)),
        EXPLICIT,
        0,
    )
    assert attributes.patient_name == expected


@pytest.mark.parametrize(
    "term", [b"", b"nonsense", b"ISO_IR 999", b"\xff\xfe", b"zlib", b"rot13", b"idna", b"\\" * 50]
)
def test_an_unknown_character_set_reads_as_the_default_one(term):
    assert decode(b"M\xfcller", charset_of(term)) == "Müller"


@pytest.mark.parametrize(
    "term", [b"ISO IR 100", b"ISO-IR 100", b"iso_ir_100", b"ISO_IR100", b"ISO 2022 IR 100", b"ISO_IR 100 \0"]
)
def test_misspelt_terms_are_understood(term):
    assert charset_of(term) == ("latin_1",)


@pytest.mark.parametrize(
    "term", [b"ISO_IR 192", b"GB18030", b"GBK", b"\\ISO 2022 IR 87", b"\\ISO 2022 IR 149", b"ISO 2022 IR 13"]
)
def test_bytes_that_are_not_of_their_character_set_become_replacement_characters(term):
    for value in (b"\xff\xff\x81", b"\x1b$B\xff", b"\x1b$)C\xff", b"\x1b", b"\x1b$", b"\x1bZZ\xff", b"\xe7\x8e"):
        assert isinstance(decode(value, charset_of(term)), str)
    assert "\N{REPLACEMENT CHARACTER}" in decode(b"A\xe7\x8e", charset_of(b"ISO_IR 192"))


def test_a_backslash_inside_of_a_character_does_not_split_a_value():
    gbk = "誠".encode("gbk")
    assert gbk[1:] == b"\\"
    content = data_set(element(0x00080005, "CS", "GBK "), element(0x00081030, "LO", gbk + b"A" * (len(gbk) % 2)))
    assert read_data_set(content, EXPLICIT, 0)[0].study_description == "誠"


def test_a_line_end_resets_the_code_extension():
    assert decode(b"\x1b-F\xe1\r\n\xe1", charset_of(b"\\ISO 2022 IR 126")) == "α\r\ná"  # noqa: RUF001 - the letter is the point
