"""What all requests have in common."""

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue


class Spec(BaseModel):
    """Base of all requests: unknown fields are refused, values are frozen, NaN is not a number."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, strict=True)

    shorthand: ClassVar[Mapping[str, Any]] = {}
    """JSON schema of a plain value that may stand for the whole; empty: there is none."""

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: Any, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Describe the shorthand, too, where it is read."""
        whole = handler(core_schema)
        is_read = cls.shorthand and handler.mode == "validation"
        return {"anyOf": [dict(cls.shorthand), whole]} if is_read else whole
