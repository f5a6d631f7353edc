"""Connections to the database, and its schema."""

import importlib.resources

import psycopg
from psycopg import sql
from psycopg.rows import DictRow, dict_row

from memsample_fleet.config import Config
from memsample_fleet.errors import FleetError

SCHEMA_VERSION = 2
"""Version of the tables that this version of the package reads and writes."""

_LOCK = 0x6D656D73
"""Advisory lock for who creates the tables."""

Connection = psycopg.Connection[DictRow]


def connect(config: Config, *, check: bool = True, timeout_s: int = 30) -> Connection:
    """Open a connection in autocommit mode; with `check`, create the tables in an empty database, and hold others
    to the version of this package.

    A connection whose network is cut fails within about ten seconds.
    """
    if not config.database:
        raise FleetError(
            "no database is named: set `database` in fleet.toml, or MEMSAMPLE_FLEET_DATABASE, such as "
            "postgresql://USER:PASSWORD@HOST/NAME"
        )
    scheme, separator, _ = config.database.partition("://")
    if separator and scheme not in ("postgresql", "postgres"):
        raise FleetError("the URL of the database must begin with postgresql://: only PostgreSQL is supported")
    try:
        connection = psycopg.connect(
            config.database,
            autocommit=True,
            row_factory=dict_row,
            connect_timeout=timeout_s,
            # A pooler between us may not know what was prepared.
            prepare_threshold=None,
            keepalives_idle=5,
            keepalives_interval=2,
            keepalives_count=3,
            tcp_user_timeout=10_000,
            application_name="memsample-fleet",
        )
        # A client whose network is cut must not keep others waiting for what it has locked.
        connection.execute(
            "SET statement_timeout = '30s'; SET lock_timeout = '20s'; SET idle_in_transaction_session_timeout = '20s'"
        )
    except psycopg.ProgrammingError:
        # Its words repeat what cannot be read, with the password in it.
        raise FleetError(
            "`database` is neither a URL such as postgresql://USER:PASSWORD@HOST/NAME nor a connection string of "
            "PostgreSQL"
        ) from None
    except psycopg.Error as error:
        raise FleetError(f"cannot connect to the database: {reason(error)}") from None
    if check:
        try:
            _check(connection)
        except BaseException:
            connection.close()
            raise
    return connection


def reason(error: BaseException) -> str:
    """Return the message of an error of the database on one line."""
    return " ".join(str(error).split()) or type(error).__name__


def _check(connection: Connection) -> None:
    version = _version(connection)
    if version is None:
        # A lock of the session: a transaction would not see what another made while it waited.
        connection.execute("SELECT pg_advisory_lock(%s)", [_LOCK])
        try:
            if _version(connection) is None:
                schema = importlib.resources.files("memsample_fleet").joinpath("schema.sql").read_text()
                with connection.transaction():
                    connection.execute(sql.SQL(schema))
        finally:
            connection.execute("SELECT pg_advisory_unlock(%s)", [_LOCK])
        version = _version(connection)
    if version != SCHEMA_VERSION:
        raise FleetError(
            f"the tables of the database have version {version}, and this memsample-fleet writes version "
            f"{SCHEMA_VERSION}: use the version of memsample-fleet that made them, or another database"
        )


def _version(connection: Connection) -> int | None:
    row = connection.execute("SELECT to_regclass('fleet_schema') IS NOT NULL AS there").fetchone()
    if row is None or not row["there"]:
        return None
    row = connection.execute("SELECT version FROM fleet_schema").fetchone()
    return None if row is None else int(row["version"])
