"""docs/commands.md has every command and option, and every target of the Makefile."""

import re
from collections.abc import Iterator

import pytest
import typer.main
from typer.core import TyperCommand, TyperGroup

from imagerepo.cli.main import command_line
from tests.docs.reading import DOCS, ROOT, code, headings, rows, section

PAGE = DOCS / "commands.md"


def walk(group: TyperGroup, name: str) -> Iterator[tuple[str, TyperCommand]]:
    for verb, command in group.commands.items():
        if isinstance(command, TyperGroup):
            yield from walk(command, f"{name} {verb}")
        else:
            assert isinstance(command, TyperCommand)
            yield f"{name} {verb}", command


def commands() -> dict[str, TyperCommand]:
    group = typer.main.get_command(command_line())
    assert isinstance(group, TyperGroup)
    return dict(walk(group, "imagerepo"))


COMMANDS = commands()


def test_every_command_has_a_section_and_no_section_is_of_none() -> None:
    assert {title for title in headings(PAGE) if title.startswith("imagerepo ")} == set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_documented_and_none_that_does_not_exist(name: str) -> None:
    known = {
        option
        for parameter in COMMANDS[name].params
        for option in parameter.opts
        if option.startswith("--") and option != "--help"
    }
    assert {code(row["option"])[0] for row in rows(section(PAGE, name), "option")} == known


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_says_in_its_help_what_it_does(name: str) -> None:
    assert COMMANDS[name].help


def test_every_make_target_is_documented() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    phony = re.search(r"^\.PHONY: (.+)$", makefile, re.MULTILINE)
    assert phony is not None
    found = {code(row["target"])[0].removeprefix("make ") for row in rows(section(PAGE, "make"), "target")}
    assert found == set(phony[1].split())


def test_every_make_variable_is_documented() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    defaults = dict(re.findall(r"^(\w+) \?= ?(.*)$", makefile, re.MULTILINE))
    found = {
        code(row["variable"])[0]: "".join(code(row["default"])) for row in rows(section(PAGE, "make"), "variable")
    }
    assert found == {**defaults, "SAMPLES": ""}
