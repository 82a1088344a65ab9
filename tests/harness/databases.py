"""Databases of their own for tests, on the session's PostgreSQL: empty ones, and ones with the schema."""

import functools
import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import LiteralString

import psycopg
from psycopg import sql

from imagerepo.adapters.postgres import upgrading
from imagerepo.adapters.postgres.database import Database
from tests.testbed.shared import shared_postgres

_TEMPLATE = "with_schema"
_numbers = itertools.count(1)


@contextmanager
def opened(url: str, connections: int = 8) -> Iterator[Database]:
    """A process's side of a database."""
    database = Database(url, connections=connections)
    try:
        yield database
    finally:
        database.close()


@contextmanager
def with_schema() -> Iterator[str]:
    """The URL of a database of its own that has this program's tables."""
    with _made(_template()) as url:
        yield url


@contextmanager
def empty(options: LiteralString = "") -> Iterator[str]:
    """The URL of a database of its own without any table; `options` as CREATE DATABASE has them."""
    with _made("template0", options) as url:
        yield url


@contextmanager
def copied(url: str) -> Iterator[str]:
    """The URL of a copy of a database that nobody is connected to."""
    with _made(url.rpartition("/")[2]) as made:
        yield made


def url_of(name: str) -> str:
    """The URL of a database by its name."""
    server = shared_postgres()
    return server.plan.postgres.url.removesuffix(server.plan.postgres.database) + name


@functools.cache
def _template() -> str:
    _make(_TEMPLATE, "template0")
    with opened(url_of(_TEMPLATE), 2) as database:
        upgrading.upgrade(database)
    return _TEMPLATE


@contextmanager
def _made(template: str, options: LiteralString = "") -> Iterator[str]:
    name = f"test_{next(_numbers)}"
    _make(name, template, options)
    try:
        yield url_of(name)
    finally:
        with superuser() as connection:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def _make(name: str, template: str, options: LiteralString = "") -> None:
    server = shared_postgres()
    with superuser() as connection:
        owner = sql.Identifier(server.plan.postgres.role)
        connection.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {} OWNER {} STRATEGY wal_log {}").format(
                sql.Identifier(name), sql.Identifier(template), owner, sql.SQL(options)
            )
        )


def as_superuser(name: str) -> str:
    """Whom the superuser asks for a database by its name."""
    server = shared_postgres()
    return f"host={server.folder / 'postgres'} port={server.plan.postgres.port} user=postgres dbname={name}"


@contextmanager
def superuser() -> Iterator[psycopg.Connection]:
    """A connection of the superuser, outside of any test's database."""
    with psycopg.connect(as_superuser("postgres"), autocommit=True) as connection:
        yield connection
