"""Answers that are sent as they are made; FastAPI would check and convert them anew."""

from collections.abc import Mapping

from fastapi import Response
from pydantic import BaseModel

from npas_api.content_negotiation import JSON


def shaped(
    shape: BaseModel, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """Return an answer that holds a shape as JSON.

    Args:
        headers: to be sent with it.
    """
    content = shape.model_dump_json(by_alias=True)
    return Response(content, status, headers=dict(headers or {}), media_type=JSON)
