"""What the tests read of a Markdown page: sections, tables, fenced blocks, links."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PACKAGE = ROOT / "service" / "imagerepo"

_HEADING = re.compile(r"^(#+) (.+)$")
_FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_CODE = re.compile(r"`([^`]+)`")


def section(page: Path, title: str) -> str:
    """What stands below a heading, up to the next one of its level or above."""
    found: list[str] | None = None
    level = 0
    fenced = False
    for line in page.read_text(encoding="utf-8").splitlines():
        fenced ^= line.lstrip().startswith("```")
        heading = None if fenced else _HEADING.match(line)
        if heading and found is not None and len(heading[1]) <= level:
            break
        if found is not None:
            found.append(line)
        elif heading and heading[2] == title:
            level, found = len(heading[1]), []
    assert found is not None, f"{page.name} has no section {title!r}"
    return "\n".join(found) + "\n"


def headings(page: Path) -> list[str]:
    """All headings, without their marks."""
    prose = _FENCE.sub("", page.read_text(encoding="utf-8"))
    return [found[2] for line in prose.splitlines() if (found := _HEADING.match(line))]


def tables(text: str) -> list[list[dict[str, str]]]:
    """Every table: rows as cells by column."""
    made: list[list[dict[str, str]]] = []
    names: list[str] = []
    for line in text.splitlines():
        if not line.startswith("|"):
            names = []
            continue
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if not names:
            names = cells
            made.append([])
        elif any(set(cell) - set("-: ") for cell in cells):
            assert len(cells) == len(names), f"a row of another width: {line}"
            made[-1].append(dict(zip(names, cells, strict=True)))
    return made


def rows(text: str, column: str) -> list[dict[str, str]]:
    """Rows of all tables whose first column has that name."""
    return [row for table in tables(text) for row in table if next(iter(row)) == column]


def code(cell: str) -> list[str]:
    """What a cell has between backticks."""
    return _CODE.findall(cell)


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block."""

    language: str
    text: str


def blocks(text: str, language: str) -> list[Block]:
    """Fenced blocks in that language, in order."""
    return [Block(found[2], found[3]) for found in _FENCE.finditer(text) if found[2] == language]


def links(page: Path) -> list[str]:
    """Targets of links, outside fenced blocks."""
    return _LINK.findall(_FENCE.sub("", page.read_text(encoding="utf-8")))


def anchor(heading: str) -> str:
    """The fragment that a forge gives a heading."""
    kept = re.sub(r"[^\w\- ]", "", heading.lower())
    return kept.replace(" ", "-")
