"""Which workers there are: each says every few seconds that it is ready to take jobs."""

from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from npas_store.settings import settings
from npas_store.tables import Worker

_FORGOTTEN = timedelta(days=1)


def beat(
    session: Session,
    name: str,
    *,
    trouble: str | None = None,
    memory_bytes: int | None = None,
    free_bytes: int | None = None,
    machine: str | None = None,
) -> None:
    """Note that a worker lives, and forget those that were last seen a day ago.

    Args:
        trouble: why it takes no jobs; None: it does.
        memory_bytes: what one training may use on its device, as far as it knows.
        free_bytes: on its disk, for the files of jobs.
        machine: as measurements name it, as far as it knows.
    """
    health = {
        "trouble": trouble,
        "memory_bytes": memory_bytes,
        "free_bytes": free_bytes,
        "machine": machine,
    }
    statement = insert(Worker).values(name=name, **health)
    session.execute(
        statement.on_conflict_do_update(
            constraint="pk_workers", set_={"seen_at": func.now(), **health}
        )
    )
    session.execute(delete(Worker).where(Worker.seen_at < func.now() - _FORGOTTEN))


def present(session: Session) -> Sequence[Worker]:
    """Return the workers that said so within the time of a lease, by name."""
    limit = timedelta(seconds=settings().lease_seconds)
    seen = select(Worker).where(Worker.seen_at > func.now() - limit).order_by(Worker.name)
    return session.scalars(seen).all()


def largest_memory_bytes(session: Session) -> int | None:
    """Return the memory of the largest device that any worker had today; None: that is not known.

    Workers that are away come back; what is waiting for them must not be refused. Of a worker that
    has not said what it has, nothing is known.
    """
    known = session.scalars(select(Worker.memory_bytes)).all()
    return None if None in known else max(filter(None, known), default=None)
