"""Alembic's entry: one transaction, on the caller's connection or one of our own."""

from alembic import context
from npas_store.database import engine, take_time
from npas_store.export_tables import Row  # of `tables`, with the table of exports known
from sqlalchemy import Connection, text


def _run(connection: Connection) -> None:
    take_time(connection)
    connection.execute(text("SET LOCAL lock_timeout = '5s'; SET LOCAL statement_timeout = 0"))
    context.configure(
        connection=connection, target_metadata=Row.metadata, compare_server_default=True
    )
    with context.begin_transaction():
        context.run_migrations()


given: Connection | None = context.config.attributes.get("connection")
if given is not None:
    _run(given)
else:
    with engine().begin() as own:
        _run(own)
