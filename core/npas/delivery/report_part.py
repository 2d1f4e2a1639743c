"""What all parts of a report have in common."""

from pydantic import BaseModel, ConfigDict


class Part(BaseModel):
    """Of a report. A report of a later release may say more, which is kept."""

    model_config = ConfigDict(frozen=True, extra="allow")
