"""A predictor that answers early, and better the longer it may go on."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from npas.ensembles.ladder import Ladder
from npas.errors import InvalidSpecError
from npas.tasks import mean_log_probs


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Answer:
    """What is known at some moment.

    Attributes:
        log_p: log of the probabilities `(B, classes)`.
        networks: how many were asked, for each image `(B,)`, int64.
        macs: multiply-adds that were spent on each image `(B,)`, int64.
        seconds: since the question.
    """

    log_p: Tensor
    networks: Tensor
    macs: Tensor
    seconds: float

    @property
    def classes(self) -> Tensor:
        """Return the most likely class of each image, int64 `(B,)`."""
        return self.log_p.argmax(dim=1)


class Anytime:
    """Asks networks one after another; see `npas.ensembles.ladder`.

    Attributes:
        networks: by name.
        ladder: their order, who answers, and when to stop.
        macs: multiply-adds of each network for one image; FLOPs are twice as many.
    """

    def __init__(
        self, networks: Mapping[str, nn.Module], ladder: Ladder, macs: Mapping[str, int]
    ) -> None:
        """Prepare.

        Raises:
            InvalidSpecError: the ladder has a network that is not given, or of unknown cost.
        """
        known = networks.keys() & macs.keys()
        if strange := [name for name in ladder.networks if name not in known]:
            raise InvalidSpecError(
                f"the ladder asks {', '.join(strange)}; there are {', '.join(sorted(known))}"
            )
        self.networks, self.ladder, self.macs = dict(networks), ladder, dict(macs)
        self._last: dict[str, tuple[float, int]] = {}

    def answers(self, x: Tensor, *, threshold: float | None = None) -> Iterator[Answer]:
        """Yield the answer after each network: better ones, as long as the caller goes on.

        Args:
            x: images as the networks read them `(B, C, S, S)`.
            threshold: images whose answer is at least so confident, 0 to 1, are asked no more;
                None: all images are asked all.

        Raises:
            InvalidSpecError: the threshold is not from 0 to 1.
        """
        _check_limits(None, None, threshold)
        began = time.perf_counter()
        trained = [network for network in self.networks.values() if network.training]
        for network in trained:
            network.eval()
        try:
            yield from self._answers(x, began, threshold)
        finally:
            for network in trained:
                network.train()

    def _answers(self, x: Tensor, began: float, threshold: float | None) -> Iterator[Answer]:
        going = torch.arange(len(x), device=x.device)
        asked = torch.zeros(len(x), dtype=torch.int64, device=x.device)
        spent = torch.zeros_like(asked)
        log_p: Tensor | None = None
        said: dict[str, Tensor] = {}
        for rung in self.ladder.rungs:
            said[rung.network] = self._ask(rung.network, x[going])
            mean = mean_log_probs({name: said[name] for name in rung.answering})
            log_p = mean.new_empty(len(x), mean.shape[1]) if log_p is None else log_p.clone()
            log_p[going] = mean
            asked, spent = asked.clone(), spent.clone()
            asked[going] += 1
            spent[going] += self.macs[rung.network]
            seconds = time.perf_counter() - began
            yield Answer(log_p=log_p, networks=asked, macs=spent, seconds=seconds)
            if threshold is not None:
                unsure = mean.max(dim=1).values.exp() < threshold
                going = going[unsure]
                said = {name: known[unsure] for name, known in said.items()}
            if not len(going):
                return

    def _ask(self, name: str, x: Tensor) -> Tensor:
        """Return a network's log-probabilities, and remember how long it took."""
        began = time.perf_counter()
        with torch.no_grad():
            log_p = functional.log_softmax(self.networks[name](x).double(), dim=1)
        if x.is_cuda:
            torch.cuda.synchronize(x.device)
        self._last[name] = time.perf_counter() - began, len(x)
        return log_p

    def _expected(self, name: str, images: int) -> float:
        """Return the seconds that a network may take: as the last time, or as the others did.

        More images than then take as much longer; fewer are not counted on to take less.
        """
        if name in self._last:
            seconds, before = self._last[name]
            return seconds * max(1.0, images / max(before, 1))
        known = [(self._expected(other, images), self.macs[other]) for other in self._last]
        return sum(s for s, _ in known) / max(sum(m for _, m in known), 1) * self.macs[name]

    def __call__(
        self,
        x: Tensor,
        *,
        macs: int | None = None,
        milliseconds: float | None = None,
        threshold: float | None = None,
    ) -> Answer:
        """Return the best answer within limits; the first network is always asked.

        Args:
            x: images as the networks read them `(B, C, S, S)`.
            macs: most multiply-adds for an image; None: no limit.
            milliseconds: for the whole batch; a network is not begun that would end later, if an
                image took as long as the last time, or for its multiply-adds as long as with
                others; None: no limit.
            threshold: confidence to stop at, 0 to 1; None: the ladder's own, if it has one and no
                other limit is given.

        Raises:
            InvalidSpecError: a limit is not above 0, or the threshold is not from 0 to 1.
        """
        _check_limits(macs, milliseconds, threshold)
        if macs is None and milliseconds is None and threshold is None:
            threshold = self.ladder.threshold
        spent = self.macs[self.ladder.networks[0]]
        answers, following = self.answers(x, threshold=threshold), self.ladder.rungs[1:]
        best = next(answers)
        for rung in following:
            spent += self.macs[rung.network]
            ends = best.seconds + self._expected(rung.network, len(x))
            if macs is not None and spent > macs:
                break
            if milliseconds is not None and 1000 * ends > milliseconds:
                break
            if (better := next(answers, None)) is None:
                break
            best = better
        answers.close()  # type: ignore[attr-defined]  # a generator
        return best


def _check_limits(macs: int | None, milliseconds: float | None, threshold: float | None) -> None:
    for name, value in (("macs", macs), ("milliseconds", milliseconds)):
        if value is not None and not value > 0:
            raise InvalidSpecError(f"{name} is {value!r}: give a number above 0, or leave it out")
    if threshold is not None and not 0 <= threshold <= 1:
        raise InvalidSpecError(f"threshold is {threshold!r}: give a probability, 0 to 1")
