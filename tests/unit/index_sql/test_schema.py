"""Migrations lead to the schema that tables.py describes, and rest on nothing that changes with it."""

import ast
import re
from pathlib import Path

from sqlalchemy import create_engine

from imagerepo.adapters.index_sql import schema, tables
from imagerepo.adapters.index_sql.engine import connect

VERSIONS = Path(schema.__file__).parent / "migrations" / "versions"


def described(database: Path) -> dict[str, str]:
    """Every table and index by its statement, without those of Alembic and of the trigrams."""
    connection = connect(database)
    rows = connection.execute(
        "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE '%_text%' "
        "AND tbl_name <> 'alembic_version'"
    ).fetchall()
    connection.close()
    return {name: re.sub(r"\s+", " ", statement).replace(" )", ")") for name, statement in rows}


def test_all_migrations_together_make_the_tables(tmp_path: Path) -> None:
    schema.upgrade(tmp_path / "migrated")
    engine = create_engine(f"sqlite:///{tmp_path / 'made'}")
    tables.metadata.create_all(engine)
    engine.dispose()
    migrated, made = described(tmp_path / "migrated"), described(tmp_path / "made")
    assert migrated == made
    assert len(made) > 20


def test_migrations_rest_on_nothing_that_changes() -> None:
    for path in VERSIONS.glob("0*.py"):
        imported = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)]
        assert [node.module for node in imported if (node.module or "").startswith("imagerepo")] == [], path.name


def test_an_upgrade_of_what_is_up_to_date_changes_nothing(tmp_path: Path) -> None:
    schema.upgrade(tmp_path / "index")
    before = described(tmp_path / "index")
    schema.upgrade(tmp_path / "index")
    assert described(tmp_path / "index") == before
