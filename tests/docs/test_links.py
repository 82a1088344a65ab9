"""Links lead somewhere; the changelog knows the version."""

import tomllib
from pathlib import Path

import pytest

from tests.docs.reading import DOCS, ROOT, anchor, headings, links

PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted(DOCS.rglob("*.md"))]

# `make bench` writes it.
MADE_LATER = {ROOT / "bench" / "results" / "spine.md"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_leads_to_a_file_and_heading(page: Path) -> None:
    for target in links(page):
        if "://" in target:
            continue
        path, _, fragment = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists() or file in MADE_LATER, f"{page.name} links to {target}"
        if fragment:
            assert fragment in {anchor(heading) for heading in headings(file)}, f"{page.name} links to {target}"


def test_every_page_is_in_the_index() -> None:
    listed = {(DOCS / target.partition("#")[0]).resolve() for target in links(DOCS / "README.md")}
    listed |= {(DOCS / "adr" / target).resolve() for target in links(DOCS / "adr" / "README.md")}
    for page in DOCS.rglob("*.md"):
        assert page.resolve() in listed or page.name == "README.md", f"{page.name} is in no index"


def test_the_changelog_has_an_entry_for_the_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert any(heading.startswith(f"[{version}]") for heading in headings(ROOT / "CHANGELOG.md"))
