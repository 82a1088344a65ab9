"""Migrations of work.sqlite lead to the tables that tables.py describes."""

import re
import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import create_engine

from imagerepo.adapters.work_sql import schema, tables
from imagerepo.adapters.work_sql.engine import WORK
from imagerepo.errors import SettingsError


def described(database: Path) -> dict[str, str]:
    with sqlite3.connect(database) as connection:
        rows = connection.execute(
            "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL AND tbl_name <> 'alembic_version'"
        ).fetchall()
    connection.close()
    return {name: re.sub(r"\s+", " ", statement).replace(" )", ")") for name, statement in rows}


def test_all_migrations_together_make_the_tables(tmp_path: Path) -> None:
    schema.upgrade(tmp_path)
    engine = create_engine(f"sqlite:///{tmp_path / 'made'}")
    tables.metadata.create_all(engine)
    engine.dispose()
    assert described(tmp_path / WORK) == described(tmp_path / "made")


def test_a_file_of_a_newer_program_is_refused_by_its_name(tmp_path: Path) -> None:
    schema.upgrade(tmp_path)
    with sqlite3.connect(tmp_path / WORK) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    with pytest.raises(SettingsError, match=r"work\.sqlite has schema 9999"):
        schema.upgrade(tmp_path)


def test_a_damaged_file_is_set_aside_and_another_made(tmp_path: Path) -> None:
    (tmp_path / WORK).write_bytes(b"no database" * 1000)
    schema.upgrade(tmp_path)
    assert described(tmp_path / WORK)
    assert (tmp_path / "work.sqlite.unreadable").read_bytes().startswith(b"no database")
