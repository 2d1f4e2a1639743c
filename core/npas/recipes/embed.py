"""As `slice`, but what mixes a layer's windows is a linear map of a vector that the layer learns.

Source: Plummer et al., "Neural Parameter Allocation Search", ICLR 2022, section 3.1, "Emb":
alpha_i = W phi_i + b, phi_i learned by the layer, W and b by all layers with as many windows. (The
released code crashes as soon as a layer has two windows.) The maps are the second bank of a group.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from npas.errors import PlanError
from npas.plans import Group
from npas.plans.windows import num_map
from npas.recipes import BankInit, BankPart, Part, Reader, settings_of
from npas.recipes._flat import Flat, FlatSettings, Own
from npas.recipes._start import fit_by_descent, normal


class _Scale(NamedTuple):
    """Scales of what mixes the windows of a layer.

    Attributes:
        vector: length at which the layer's vector starts.
        map: deviation at which the weights of the map start.
        mix: fixed factor of vector times map.
        bias: fixed factor of the map's biases.
    """

    vector: float
    map: float
    mix: float
    bias: float


MOST_SAID = 200
"""Characters of a setting."""


class EmbedSettings(FlatSettings):
    """What a plan may say beside.

    Attributes:
        layers: numbers with commas between them, in the group that this one is a part of: how
            many layers have two windows, or as few as any of these have, and so on. "": as many
            as are here.
    """

    layers: str = Field("", pattern=r"^(\d{1,9}(,\d{1,9})*)?$")


class Embed:
    """Composer of a flat bank and the maps, those of the fewest windows first.

    A slot's row of the first bank is the first of its own scalars; the first dimension of the
    second bank's shape is that of the embeddings.
    """

    def __init__(self, group: Group) -> None:
        if len(group.banks) != 2 or any(bank.templates != 1 for bank in group.banks):
            raise PlanError(f"group {group.name}: embed needs two banks of one template")
        self._group, self._maps = group, (maps := group.banks[1])
        self._embedding = maps.shape[0]
        self._flat = flat = Flat(group, EmbedSettings)
        self._windows = [max(1, len(found.starts)) for found in flat.readings]
        counts = sorted({count for count in self._windows if count > 1})
        ends = [
            sum(num_map(c, self._embedding) for c in counts[: i + 1]) for i in range(len(counts))
        ]
        if not counts or maps.size != ends[-1] or maps.rows:
            raise PlanError(f"group {group.name}: the maps are not those of its layers")
        self._map_at = {
            count: slice(end - num_map(count, self._embedding), end)
            for count, end in zip(counts, ends, strict=True)
        }
        self._layers = self._layers_of(counts, settings_of(group, EmbedSettings).layers)
        readers, self._parts = flat.checked(group, [*map(self._own, range(len(group.slots)))])
        mapped = [Reader(i, None, 1.0) for i, count in enumerate(self._windows) if count > 1]
        self.readers: Sequence[Sequence[Reader]] = [readers, mapped]

    def _layers_of(self, counts: Sequence[int], said: str) -> Mapping[int, int]:
        """Return how many layers have so many windows, in the whole of which this is a part."""
        here = [self._windows.count(count) for count in counts]
        whole = [int(number) for number in said.split(",")] if said else here
        if len(whole) != len(here) or any(n > m for n, m in zip(here, whole, strict=True)):
            raise PlanError(f"group {self._group.name}: setting layers does not fit the layers")
        return dict(zip(counts, whole, strict=True))

    def _own(self, index: int) -> Own:
        """Return a layer's own numbers: a vector, or coefficients as in `slice`."""
        if self._windows[index] > 1:
            return Own(0, self._embedding, (1.0, self._scale(self._windows[index]).mix), (0,))
        return self._flat.own(index, (None,))

    def _scale(self, windows: int) -> _Scale:
        """Return at what scale layers of so many windows start.

        A step of the vectors and one of the maps both move what mixes the windows; these scales
        make them move it as far, together, as coefficients of the group's length would. Without
        such a length all is 1, as in files of before there was one.
        """
        length = self._flat.row_length
        if length is None:
            return _Scale(1.0, 1.0 / math.sqrt(windows), 1.0, 1.0)
        map_scale = 2 * length / math.sqrt(windows)
        vector = map_scale * math.sqrt(self._embedding)
        layers = self._layers[windows]
        return _Scale(
            vector=vector,
            map=map_scale,
            mix=1 / (vector * map_scale * math.sqrt(windows)),
            bias=1 / (length * math.sqrt(2 * layers)),
        )

    def _map(self, maps_D: Tensor, windows: int) -> tuple[Tensor, Tensor]:
        """Return views of one map: weights (embedding, windows) and biases (windows,)."""
        own = maps_D[self._map_at[windows]]
        return own[windows:].view(self._embedding, windows), own[:windows]

    def _mapped(self, mixing_M: Tensor, maps_D: Tensor) -> list[Tensor]:
        """Return the coefficients that mix the windows of every layer."""
        found = []
        for part, windows, factor in zip(
            self._parts, self._windows, self._flat.gains, strict=True
        ):
            own_M = mixing_M[part]
            if windows > 1:
                weight, bias = self._map(maps_D, windows)
                own_M = (own_M @ weight + bias * self._scale(windows).bias) * factor
            found.append(own_M)
        return found

    def compose(self, templates: Sequence[Tensor], mixing: Sequence[Tensor]) -> list[Tensor]:
        """Return the weights; see `Composer`."""
        bank_B, maps_D, mixing_M = templates[0][0], templates[1][0], mixing[0][:, 0]
        return self._flat.compose(bank_B, self._mapped(mixing_M, maps_D))

    def pull_back(
        self,
        templates: Sequence[Tensor],
        mixing: Sequence[Tensor],
        gradients: Sequence[Tensor | None],
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Return the gradients; see `Composer`. Ones mix the maps: theirs are zero."""
        bank_B, maps_D, mixing_M = templates[0][0], templates[1][0], mixing[0][:, 0]
        of_maps_D, of_mixing_M = torch.zeros_like(maps_D), torch.zeros_like(mixing_M)
        mapped = self._mapped(mixing_M, maps_D)
        of_bank_B, found = self._flat.pull_back(bank_B, mapped, gradients)
        for index, (part, of_own_M) in enumerate(zip(self._parts, found, strict=True)):
            if of_own_M is None:
                continue
            windows = self._windows[index]
            if windows > 1:
                of_alpha = of_own_M * self._flat.gains[index]
                of_weight, of_bias = self._map(of_maps_D, windows)
                of_weight += torch.outer(mixing_M[part], of_alpha)
                of_bias += of_alpha * self._scale(windows).bias
                of_own_M = self._map(maps_D, windows)[0] @ of_alpha
            of_mixing_M[part] = of_own_M
        return (
            [of_bank_B.unsqueeze(0), of_maps_D.unsqueeze(0)],
            [of_mixing_M.unsqueeze(1), torch.zeros_like(mixing[1])],
        )

    def fresh(self, generator: torch.Generator) -> list[BankInit]:
        """Return random values; embeddings and what maps make of them have length 1."""
        templates = self._flat.fresh_bank(generator)
        rows = []
        for way, windows in zip(self._flat.ways, self._windows, strict=True):
            own = way.fresh(generator)
            if windows > 1:
                own = normal((self._embedding,), generator)
                own = own / own.norm() * self._scale(windows).vector
            else:
                own = own * (self._flat.row_length or 1.0)
            rows.append(own)
        maps_D = torch.zeros(self._maps.size)
        for windows in self._map_at:
            weight = self._map(maps_D, windows)[0]
            drawn = normal(weight.shape, generator)
            weight.copy_(drawn * self._scale(windows).map)
        return [
            BankInit(templates, torch.cat(rows).unsqueeze(1)),
            BankInit(maps_D.unsqueeze(0), None),
        ]

    def fit(self, weights: Sequence[Tensor]) -> list[BankInit]:
        """Return the bank that is nearest for random embeddings and maps; see `Composer`."""
        starts = self.fresh(torch.Generator().manual_seed(0))
        return fit_by_descent(self, starts, weights, fixed=[1])

    def part(self, slots: Sequence[int]) -> Part:
        """Return some layers with the maps that they read, by `slice` if none; see `Composer`."""
        owns = [self._own(slot).scalars for slot in range(len(self._windows))]
        group, (source,) = self._flat.part(slots, owns)
        settings = {name: value for name, value in group.settings.items() if name != "layers"}
        counts = sorted({self._windows[slot] for slot in slots} - {1})
        if not counts:
            plain = {"recipe": "slice", "settings": settings}
            return Part(group.model_copy(update=plain), (source,))
        layers = ",".join(str(self._layers[count]) for count in counts)
        if len(layers) > MOST_SAID:
            raise PlanError(f"group {group.name}: too many maps to make a part of")
        places = [torch.arange(self._maps.size)[self._map_at[count]] for count in counts]
        kept = torch.cat(places)
        made = tuple(
            slot.model_copy(update={"rows": (*slot.rows, 0 if self._windows[index] > 1 else None)})
            for slot, index in zip(group.slots, slots, strict=True)
        )
        changes = {
            "banks": (*group.banks, self._maps.model_copy(update={"size": len(kept)})),
            "slots": made,
            "settings": settings | {"layers": layers},
        }
        return Part(group.model_copy(update=changes), (source, BankPart(1, scalars=kept)))


RECIPE = Embed
