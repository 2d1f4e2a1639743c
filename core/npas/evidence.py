"""What was measured while training, as plain data: it lets a method refine a plan."""

from typing import Annotated, Literal, Self

from pydantic import Field, ValidationError, model_validator

from npas.errors import PlanError
from npas.spec import Spec

Cosine = Annotated[float, Field(ge=-1, le=1)]


def _check_square(
    layers: tuple[tuple[str, str], ...], cosine: tuple[tuple[float, ...], ...]
) -> None:
    size = len(layers)
    if [len(row) for row in cosine] != [size] * size:
        raise ValueError("cosine must be a square matrix, one row per layer")
    if tuple(zip(*cosine, strict=True)) != cosine:
        raise ValueError("cosine must be a symmetric matrix")


class Similarity(Spec):
    """How much the layers of one kernel class agree.

    Attributes:
        layers: (network, layer) of every row.
        cosine: symmetric matrix, row major, cosine of the layers' gradients cropped to their
            common leading part; 0 where a gradient was zero or not finite.
        energy: squared length of every layer's own gradient, 0 where it was not finite; empty
            where it was not measured.
    """

    layers: tuple[tuple[str, str], ...]
    cosine: tuple[tuple[Cosine, ...], ...]
    energy: tuple[Annotated[float, Field(ge=0, allow_inf_nan=False)], ...] = ()

    @model_validator(mode="after")
    def _is_square(self) -> Self:
        _check_square(self.layers, self.cosine)
        if len(self.energy) not in (0, len(self.layers)):
            raise ValueError("energy must be one number for every layer, or left out")
        return self


EvidenceKind = Literal["gradient_agreement", "representation"]
"""What a method wants to be measured in a search stage."""


class Evidence(Spec):
    """How alike layers are.

    `gradient_agreement`, one matrix per kernel class. Source: "Learning to Compose SuperWeights",
    section 2.2. The paper's code measures one mini-batch and one network; here the gradients of
    `batches` mini-batches are summed, over all networks.

    `representation`, one matrix of the layers of every bank: what layers make of the templates
    that they share. Source: "Neural Parameter Allocation Search", section 3.2, on a fixed gauge.

    Attributes:
        batches: mini-batches that were looked at; 0 where none was needed.
    """

    kind: EvidenceKind = "gradient_agreement"
    batches: int = Field(ge=0)
    classes: tuple[Similarity, ...]

    @model_validator(mode="after")
    def _layers_once(self) -> Self:
        layers = [layer for similarity in self.classes for layer in similarity.layers]
        if len(set(layers)) < len(layers):
            raise ValueError("a layer stands in two rows")
        return self

    @model_validator(mode="after")
    def _gradients_are_of_batches(self) -> Self:
        if self.kind == "gradient_agreement" and not self.batches:
            raise ValueError("gradients are those of at least one batch")
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


class BankAgreement(Spec):
    """How much the layers that read one bank agree on where its coefficients should go.

    Attributes:
        group: of the plan.
        bank: index in the group.
        layers: (network, layer) of every row, the readers in the order of the group's slots.
        cosine: symmetric matrix, row major, cosine of the gradients that the layers have for a
            coefficient vector each; 0 where a gradient was zero or not finite.
    """

    group: str
    bank: int = Field(ge=0)
    layers: tuple[tuple[str, str], ...]
    cosine: tuple[tuple[Cosine, ...], ...]

    @model_validator(mode="after")
    def _is_square(self) -> Self:
        _check_square(self.layers, self.cosine)
        return self


class CoefficientAgreement(Spec):
    """Agreement of layers that share coefficients, measured in the midst of training.

    Source: "Learning to Compose SuperWeights", the released code's refinement. There a network's
    layers have one gradient for the vector they share, so only networks can be told apart; here
    every layer has its own.
    """

    kind: Literal["coefficient_agreement"] = "coefficient_agreement"
    batches: int = Field(ge=1)
    banks: tuple[BankAgreement, ...]

    @model_validator(mode="after")
    def _banks_once(self) -> Self:
        if len({(bank.group, bank.bank) for bank in self.banks}) < len(self.banks):
            raise ValueError("a bank stands there twice")
        return self
