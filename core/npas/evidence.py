"""What was measured while training, as plain data: it lets a method refine a plan."""

from typing import Annotated, Literal, Self

from pydantic import Field, ValidationError, model_validator

from npas.errors import PlanError
from npas.spec import Spec

Cosine = Annotated[float, Field(ge=-1, le=1)]


class Similarity(Spec):
    """How much the layers of one kernel class agree.

    Attributes:
        layers: (network, layer) of every row.
        cosine: symmetric matrix, row major, cosine of the layers' gradients cropped to their
            common leading part; 0 where a gradient was zero or not finite.
    """

    layers: tuple[tuple[str, str], ...]
    cosine: tuple[tuple[Cosine, ...], ...]

    @model_validator(mode="after")
    def _is_square(self) -> Self:
        size = len(self.layers)
        if [len(row) for row in self.cosine] != [size] * size:
            raise ValueError("cosine must be a square matrix, one row per layer")
        if tuple(zip(*self.cosine, strict=True)) != self.cosine:
            raise ValueError("cosine must be a symmetric matrix")
        return self


class Evidence(Spec):
    """Gradient agreement, one matrix per kernel class.

    Source: "Learning to Compose SuperWeights", section 2.2. The paper's code measures one
    mini-batch and one network; here the gradients of `batches` mini-batches are summed, over
    all networks.
    """

    kind: Literal["gradient_agreement"] = "gradient_agreement"
    batches: int = Field(ge=1)
    classes: tuple[Similarity, ...]

    @model_validator(mode="after")
    def _layers_once(self) -> Self:
        layers = [layer for similarity in self.classes for layer in similarity.layers]
        if len(set(layers)) < len(layers):
            raise ValueError("a layer stands in two rows")
        return self

    def to_json(self) -> str:
        """Return the evidence as JSON."""
        return self.model_dump_json()

    @classmethod
    def from_json(cls, text: str) -> "Evidence":
        """Read evidence.

        Raises:
            PlanError: the text is not evidence.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise PlanError(f"not evidence: {error.errors()[0]['msg']}") from error
