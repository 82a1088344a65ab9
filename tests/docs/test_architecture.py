"""docs/architecture.md: its rooms are the package's, its files exist."""

from tests.docs.reading import DOCS, PACKAGE, ROOT, code, rows, section

PAGE = DOCS / "architecture.md"
FILES = [code(row["file"])[0] for row in rows(section(PAGE, "From concept to file"), "concept")]
ROOMS = sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py"))


def test_every_file_named_exists() -> None:
    missing = [file for file in FILES if not (PACKAGE / file).exists() and not (ROOT / file).exists()]
    assert missing == []


def test_every_room_is_in_the_concept_table() -> None:
    named = {file.split("/")[0] for file in FILES}
    assert [room for room in ROOMS if room not in named] == []


def test_every_room_is_described() -> None:
    described = {name for row in rows(section(PAGE, "Rooms"), "room") for name in code(row["room"])}
    assert sorted(described) == ROOMS


def test_the_page_ends_in_the_concept_table() -> None:
    assert section(PAGE, "From concept to file").rstrip().endswith("|")
    assert PAGE.read_text(encoding="utf-8").endswith(section(PAGE, "From concept to file"))


def test_every_module_at_the_top_is_in_the_concept_table() -> None:
    top = {path.name for path in PACKAGE.glob("*.py")} - {"__init__.py"}
    assert sorted(top - set(FILES)) == []
