"""The files that jobs deliver: names and sizes in Postgres, bytes in the blob store."""

import mimetypes
from collections.abc import Sequence

from sqlalchemy import Select, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from npas_store.blobs import Blob
from npas_store.tables import Artifact

_MEDIA_TYPES = {".safetensors": "application/octet-stream", ".csv": "text/csv"}
_KINDS = {".safetensors": "model", ".csv": "metrics", ".svg": "picture"}


def media_type(name: str) -> str:
    """Return the media type of a file by its name."""
    suffix = name[name.rfind(".") :]
    return _MEDIA_TYPES.get(suffix) or mimetypes.guess_type(name)[0] or "application/octet-stream"


def kind(name: str) -> str:
    """Return the kind of a file: model, plan, report, metrics, picture, or file."""
    stem, _, suffix = name.rpartition(".")
    return stem if stem in ("plan", "report") else _KINDS.get(f".{suffix}", "file")


def record(
    session: Session, job_id: str, name: str, blob: Blob, *, kind_of_file: str | None = None
) -> None:
    """Give a blob a name in a job; a name given again is replaced.

    A worker must hold its lease in the same transaction (`claims.guard`).

    Args:
        session: of the transaction.
        job_id: of the job.
        name: of the file.
        blob: its bytes.
        kind_of_file: None: by its name.
    """
    values = {
        "kind": kind_of_file or kind(name),
        "media_type": media_type(name),
        "bytes": blob.bytes,
        "sha256": blob.sha256,
    }
    statement = insert(Artifact).values(job_id=job_id, name=name, **values)
    session.execute(statement.on_conflict_do_update(constraint="pk_artifacts", set_=values))


def listing(session: Session, job_id: str) -> Sequence[Artifact]:
    """Return all files of a job, by name."""
    query = select(Artifact).where(Artifact.job_id == job_id).order_by(Artifact.name)
    return session.scalars(query).all()


def hold_model(session: Session, sha256: str) -> Artifact | None:
    """Return a model file that a job delivered, by its content; None: there is none.

    It stays on record until the end of the transaction, in which a job may name it.
    """
    query = _models(sha256).with_for_update(read=True, key_share=True)
    return session.scalars(query).one_or_none()


def model(session: Session, sha256: str) -> Artifact | None:
    """Return a model file that a job delivered, by its content; None: there is none."""
    return session.scalars(_models(sha256)).one_or_none()


def _models(sha256: str) -> Select[Artifact]:
    return select(Artifact).where(Artifact.sha256 == sha256, Artifact.kind == "model").limit(1)


def find(session: Session, job_id: str, name: str) -> Artifact | None:
    """Return one file of a job, if there is one under that name."""
    return session.get(Artifact, (job_id, name))
