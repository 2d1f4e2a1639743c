"""What lists can be asked for: filters, sort and cursor, as query parameters."""

import base64
import json
import re
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import Request, Response
from npas import spec
from npas.spec import LABEL_KEY, MAX_LABEL_LENGTH, MAX_LABELS, MAX_PARAMETERS, Name
from npas_store.listings import Filter, Order, Page, Place
from npas_store.states import State
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter

from npas_api import errors
from npas_api.errors import FieldError

LABEL_PARAMETER: dict[str, Any] = {
    "parameters": [
        {
            "name": "label",
            "in": "query",
            "style": "deepObject",
            "explode": True,
            "description": "label[team]=vision: only jobs with this label",
            "schema": {
                "type": "object",
                "maxProperties": MAX_LABELS,
                "propertyNames": {"pattern": LABEL_KEY.pattern},
                "additionalProperties": {"type": "string", "maxLength": MAX_LABEL_LENGTH},
            },
        }
    ]
}
"""OpenAPI of the one parameter whose name the client makes up."""

_RowId = Annotated[str, StringConstraints(pattern=r"^(job|sweep)_[0-9a-f]{32}$")]
_JobId = Annotated[str, StringConstraints(pattern=r"^job_[0-9a-f]{32}$")]
_SweepId = Annotated[str, StringConstraints(pattern=r"^sweep_[0-9a-f]{32}$")]
_Count = Annotated[int, Field(strict=True, ge=0, lt=2**63)]
_Share = Annotated[float, Field(allow_inf_nan=False)]
_CURSOR: TypeAdapter[tuple[str, bool, datetime | int | float, str]] = TypeAdapter(
    tuple[Literal["created_at", "finished_at"], bool, AwareDatetime, _RowId]
    | tuple[Literal["parameters"], bool, _Count, _RowId]
    | tuple[Literal["accuracy"], bool, _Share, _RowId]
)
"""Order, direction, value and id of the row where a page ended."""

_LABEL = re.compile(r"label\[(.*)\]", re.DOTALL)


class PageQuery(BaseModel):
    """A page of a list whose rows have labels."""

    # Unknown parameters are kept for `labels_of`, which takes the labels and refuses the rest.
    model_config = ConfigDict(extra="allow")

    limit: int = Field(20, ge=1, le=100)
    after: Annotated[str, StringConstraints(max_length=300)] | None = Field(
        None, description="`next` of the page before"
    )


class ListQuery(PageQuery):
    """The filters that all lists of jobs have."""

    architecture: Name | None = None
    dataset: Name | None = None
    method: Name | None = None
    sweep: _SweepId | None = Field(None, description="only jobs of this sweep")


class JobQuery(ListQuery):
    """Which jobs."""

    state: list[State] = Field(default=[], max_length=10, description="any of these")
    created_after: AwareDatetime | None = None
    parent: _JobId | None = Field(None, description="made of this job: its clones and so on")
    sort: Literal["created_at", "-created_at"] = Field(
        "-created_at", description="with a minus, the newest first"
    )


class ResultQuery(ListQuery):
    """Which results."""

    max_parameters: int | None = Field(None, ge=1, le=10 * MAX_PARAMETERS)
    min_accuracy: float | None = Field(None, ge=0, le=1)
    sort: Literal[
        "-accuracy", "accuracy", "-parameters", "parameters", "-finished_at", "finished_at"
    ] = Field("-accuracy", description="with a minus, the highest or newest first")


def filtered(query: JobQuery | ResultQuery) -> Filter:
    """Return the filter that a query asks for.

    Raises:
        InvalidRequestError: a parameter that does not exist, or a label that cannot be one.
    """
    fields = query.model_dump(include={"architecture", "dataset", "method", "sweep"})
    labels = labels_of(query.model_extra or {}, type(query))
    if isinstance(query, JobQuery):
        return Filter(
            **fields,
            labels=labels,
            states=query.state,
            created_after=query.created_after,
            parent_id=query.parent,
        )
    return Filter(
        **fields,
        labels=labels,
        max_parameters=query.max_parameters,
        min_accuracy=query.min_accuracy,
    )


def ordered(query: JobQuery | ResultQuery) -> Order:
    """Return the order that a query asks for."""
    return Order(by=query.sort.removeprefix("-"), descending=query.sort.startswith("-"))


def cursor(order: Order, place: Place) -> str:
    """Return a place in a list as text that clients hand back and do not look into."""
    value = place.value.isoformat() if isinstance(place.value, datetime) else place.value
    text = json.dumps([order.by, order.descending, value, place.id], separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def placed(after: str | None, order: Order) -> Place | None:
    """Return the place that a cursor stands for.

    Raises:
        InvalidRequestError: not a cursor of a list in this order.
    """
    if after is None:
        return None
    try:
        padded = after + "=" * (-len(after) % 4)
        text = base64.b64decode(padded, altchars=b"-_", validate=True).decode("ascii")
        by, descending, value, job_id = _CURSOR.validate_json(text)
    except ValueError:
        raise _refused("after", "invalid_cursor", "not a cursor of this list") from None
    if (by, descending) != (order.by, order.descending):
        raise _refused("after", "invalid_cursor", "a cursor of a list in another order")
    return Place(value=value, id=job_id)


def following(page: Page, order: Order) -> str | None:
    """Return the cursor of the next page, None after the last."""
    return cursor(order, order.place(page.jobs[-1])) if page.has_more else None


def link(request: Request, response: Response, after: str | int | None) -> None:
    """Name the next page in the Link header (RFC 8288), if there is one."""
    if after is not None:
        url = request.url.include_query_params(after=after)
        response.headers["Link"] = f'<{url.path}?{url.query}>; rel="next"'


def labels_of(extra: dict[str, Any], query: type[BaseModel]) -> dict[str, str]:
    """Return the labels that a query asks for.

    Args:
        extra: parameters that are none of the model's fields.
        query: the model.

    Raises:
        InvalidRequestError: a parameter that does not exist, or a label that cannot be one.
    """
    labels: dict[str, str] = {}
    for name, value in extra.items():
        found = _LABEL.fullmatch(name)
        if found is None:
            known = ", ".join([*query.model_fields, "label[KEY]"])
            raise _refused(
                name, "unknown_parameter", f"there is no such parameter (known: {known})"
            )
        key = found[1]
        if not LABEL_KEY.fullmatch(key):
            message = "a label key is 1 to 64 letters, digits and . _ / - only"
            raise _refused(name, "invalid_label", message)
        if not isinstance(value, str) or len(value) > MAX_LABEL_LENGTH or "\0" in value:
            message = (
                f"a label has one value, of at most {MAX_LABEL_LENGTH} characters, without NUL"
            )
            raise _refused(name, "invalid_label", message)
        labels[key] = value
    if len(labels) > MAX_LABELS:
        raise _refused("label", "too_many_labels", f"at most {MAX_LABELS} labels")
    return labels


def _refused(name: str, code: str, message: str) -> errors.InvalidRequestError:
    return errors.invalid(
        [FieldError(pointer=spec.pointer(name), code=code, message=message, place="query")]
    )
