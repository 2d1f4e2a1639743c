"""The file that a job is to start from: one that a job delivered, or weights that were sent."""

from npas.spec import JobSpec
from npas_store import artifacts, blobs, datasets, garbage
from sqlalchemy.orm import Session

from npas_api import errors
from npas_api.errors import FieldError

_POINTER = "/start/checkpoint"


def require_start(session: Session, spec: JobSpec) -> None:
    """Check that the file a job names is stored.

    Raises:
        StartUnusableError: it is not, or not any more.
    """
    if spec.start is None:
        return
    blob = _blob(session, spec.start.checkpoint)
    if blob is None:
        raise _unknown(spec.start.checkpoint)
    state = blobs.state(blob)
    if state != "stored":
        raise _refused(f"the file {blob.sha256} is {state}; start from another one")


def hold_start(session: Session, spec: JobSpec) -> None:
    """Keep the file a job names on record until the job is, in one transaction.

    Raises:
        StartUnusableError: it was deleted meanwhile.
    """
    if spec.start is None:
        return
    garbage.hold(session)
    sha256 = spec.start.checkpoint
    is_delivered = artifacts.hold_model(session, sha256) is not None
    if not is_delivered and datasets.weights(session, sha256, is_held=True) is None:
        raise _unknown(sha256)


def _blob(session: Session, sha256: str) -> blobs.Blob | None:
    """Return what is recorded of a file that jobs may start from; None: there is none."""
    model = artifacts.model(session, sha256)
    if model is not None:
        return blobs.Blob(sha256=model.sha256, bytes=model.bytes)
    sent = datasets.weights(session, sha256)
    if sent is None or sent.content_bytes is None:
        return None
    return blobs.Blob(sha256=sha256, bytes=sent.content_bytes)


def check_stored(blob: blobs.Blob, job_id: str) -> None:
    """Check that a network that a job delivered is as it was.

    Raises:
        ArtifactGoneError: it is not there.
        ArtifactDamagedError: it is another.
    """
    state = blobs.state(blob)
    told = (
        f"the network of {job_id} is {state} on the server's disk; clone the job to make another"
    )
    if state == "missing":
        raise errors.ArtifactGoneError(told)
    if state == "damaged":
        raise errors.ArtifactDamagedError(told)


def _unknown(sha256: str) -> errors.StartUnusableError:
    return _refused(
        f"no job has delivered a model file with the SHA-256 {sha256}, and no weights with it "
        "were sent and found in order, or it was deleted; the artifacts of a job tell theirs, and "
        "GET /v1/datasets?format=weights those of weights"
    )


def _refused(told: str) -> errors.StartUnusableError:
    blame = FieldError(pointer=_POINTER, code="start_unusable", message=told)
    return errors.StartUnusableError(told, errors=[blame])
