"""docs/settings.md and docs/institutions.md say what settings.py does."""

from collections.abc import Iterator
from pathlib import Path
from typing import get_args, get_origin

import pytest
import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from imagerepo import settings
from imagerepo.settings import Settings, load
from tests.docs.reading import DOCS, blocks, code, rows, section

PAGE = DOCS / "settings.md"


def walk(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Every setting's name, as the page writes it; sections are walked into, lists of sections too."""
    for name, field in model.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from walk(inner, f"{prefix}{name}.")
            continue
        yield f"{prefix}{name}", field
        for one in get_args(inner):
            if isinstance(one, type) and issubclass(one, BaseModel):
                yield from walk(one, f"{prefix}{name}[]." if get_origin(inner) is tuple else f"{prefix}{name}.")


def documented() -> dict[str, dict[str, str]]:
    return {code(row["setting"])[0]: row for row in rows(PAGE.read_text(encoding="utf-8"), "setting")}


def test_every_setting_is_documented_and_none_that_does_not_exist() -> None:
    assert set(documented()) == {name for name, _ in walk(Settings)}


@pytest.mark.parametrize(("name", "field"), list(walk(Settings)), ids=[name for name, _ in walk(Settings)])
def test_a_documented_default_is_the_code_s(name: str, field: FieldInfo) -> None:
    row = documented()[name]
    assert row["unit"], f"{name} has no unit"
    assert row["what, and why"], f"{name} has no reason"
    if field.is_required():
        assert row["default"] == "*required*"
        return
    default: object = field.get_default(call_default_factory=True)
    shown = yaml.safe_load(code(row["default"])[0])
    if isinstance(default, tuple):
        assert (shown, default) == ([], ())
    else:
        assert shown == (str(default) if isinstance(default, Path) else default)


def test_every_setting_says_what_it_is_in_the_code() -> None:
    assert [name for name, field in walk(Settings) if not field.description and name not in SECTIONS] == []


SECTIONS = {"dimse", "http", "tls", "storage", "rendering", "audit"}


def test_variables_that_are_no_settings_are_documented() -> None:
    other = {code(row["variable"])[0] for row in rows(section(PAGE, "Other variables"), "variable")}
    assert other == set(settings._NOT_SETTINGS)  # pyright: ignore[reportPrivateUsage] - what the page is about


def test_the_variables_shown_set_what_the_page_says() -> None:
    found = load(None, {}, {"IMAGEREPO_DIMSE__MAX_PDU": "131072", "IMAGEREPO_TRUSTED_PROXIES": "[10.0.0.5]"})
    assert (found.dimse.max_pdu, found.trusted_proxies) == (131072, ("10.0.0.5",))
    text = PAGE.read_text(encoding="utf-8")
    assert "IMAGEREPO_DIMSE__MAX_PDU=131072" in text
    assert "IMAGEREPO_TRUSTED_PROXIES='[10.0.0.5]'" in text


@pytest.mark.parametrize(
    "page",
    ["institutions.md", "security.md", "audit.md", "settings.md", "forwarding.md", "administration.md", "changes.md",
     "cluster.md"],
)  # fmt: skip
def test_a_complete_example_is_accepted_as_it_stands(page: str, tmp_path: Path) -> None:
    found = blocks((DOCS / page).read_text(encoding="utf-8"), "yaml")
    assert found, f"{page} has no example"
    for number, example in enumerate(found):
        file = tmp_path / f"{number}.yaml"
        lines = example.text.splitlines()
        indent = min(len(line) - len(line.lstrip()) for line in lines if line.strip())
        file.write_text("\n".join(line[indent:] for line in lines), encoding="utf-8")
        assert load(file, {}, {}) != Settings()


def test_the_example_has_every_setting_of_an_institution() -> None:
    (example,) = blocks((DOCS / "institutions.md").read_text(encoding="utf-8"), "yaml")
    shown = {key for institution in yaml.safe_load(example.text)["institutions"] for key in institution}
    assert shown == set(settings.Institution.model_fields)
