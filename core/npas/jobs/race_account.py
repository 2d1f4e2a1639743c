"""What is told of a race: who won and why, in a sentence, and the whole of it for the report."""

from dataclasses import asdict
from typing import Any

from npas.arch.costs import running_cost
from npas.jobs.bracket import Bracket, Trial
from npas.jobs.candidates import Candidate, called
from npas.planning.verdict import Belief


def report(bracket: Bracket, request: str) -> dict[str, Any]:
    """Return a race as plain JSON: candidates, trainings, cost, winner and reason.

    Args:
        bracket: of the race, over or under way.
        request: what tells the job from others.
    """
    trials = list(bracket.trials.values())
    return {
        "request": request,
        "method": called(bracket.winner.method),
        "why": why(bracket),
        "candidates": [_entry(bracket, index) for index in range(len(bracket.candidates))],
        "reference": 0,
        "trials": [asdict(trial) for trial in trials],
        "infeasible": bracket.infeasible,
        "epochs": bracket.epochs,
        "share_of_training": round(sum(trial.epochs for trial in trials) / bracket.whole, 4),
        "seconds": round(sum(trial.seconds for trial in trials), 3),
        "discarded": bracket.discarded,
        **_sizes(bracket),
    }


def _entry(bracket: Bracket, candidate: int) -> dict[str, Any]:
    leads = {"prior": bracket.known.get(candidate), "posterior": bracket.believed(candidate)}
    told = {name: None if each is None else asdict(each) for name, each in leads.items()}
    return {**bracket.candidates[candidate].entry(), **told}


def _sizes(bracket: Bracket) -> dict[str, Any]:
    """Return the fields of a report that are of a race of sizes."""
    costs = {index: each.cost for index, each in enumerate(bracket.candidates)}
    macs = {index: cost.macs for index, cost in costs.items() if cost is not None}
    if not macs:
        return {}
    spent = sum(trial.epochs * macs[trial.candidate] for trial in bracket.trials.values())
    of_all = bracket.whole * sum(macs[index] for index in bracket.entrants)
    return {"network": bracket.winner.network, "share_of_all": round(spent / of_all, 4)}


def why(bracket: Bracket) -> str:
    """Return the choice and its reason as a sentence.

    Args:
        bracket: of the race, over or under way.
    """
    winner = bracket.winner
    reason = _reason(bracket)
    if winner.cost is not None:
        reason += _running(bracket, winner)
    if winner.plan.groups:
        return reason
    if winner.plan.networks == bracket.problem.networks:
        return f"do not share: the network as it is fits the budget, and {reason}"
    other = "a narrower network" if winner.cost is None else "another size of the network"
    return f"do not share: {other} is better here, and {reason}"


def _reason(bracket: Bracket) -> str:
    winner = bracket.winner
    name, kind = winner.told, "method" if winner.cost is None else "candidate"
    if len(bracket.candidates) == 1:
        bounds = "the budget" if winner.cost is None else "the budget and the limits"
        return f"{name} is the only {kind} that fits {bounds}"
    if not bracket.rungs:
        return f"{name} stays: all other {kind}s that fit are known to be behind"
    if not bracket.trials:
        return f"{name}: stopped before anything was raced"
    return _kept(bracket) if bracket.best == 0 else _taken(bracket)


def _kept(bracket: Bracket) -> str:
    """Return why the reference stays."""
    name = bracket.candidates[0].told
    leads = {c: each for c in bracket.known if (each := bracket.believed(c)) is not None}
    if not leads:
        return f"{name} stays, as no other could be compared with it"
    nearest = max(leads, key=lambda c: (leads[c].lead, -c))
    other = bracket.candidates[nearest].told
    if leads[nearest].lead > 0:
        told = f"{other} leads by {_shown(leads[nearest])} nats, which is within the noise"
    else:
        told = f"the nearest, {other}, is behind by {_shown(leads[nearest])} nats"
    return f"{name} stays: {told} ({_grounds(bracket, nearest)})"


def _taken(bracket: Bracket) -> str:
    """Return why another candidate takes the place of the reference."""
    best, reference = bracket.best, bracket.candidates[0].told
    name, believed = bracket.candidates[best].told, bracket.believed(best)
    last = bracket.longest(best)
    assert last is not None
    if believed is None or bracket.is_lost(0):
        return (
            f"{name} had the lowest loss on held-out training images, epochs: {last.epochs}: "
            f"{shown(last)}, and {reference} diverged"
        )
    return (
        f"{name} leads {reference} by {_shown(believed)} nats, which is more than the noise "
        f"({_grounds(bracket, best)})"
    )


def _grounds(bracket: Bracket, candidate: int) -> str:
    """Return what a belief rests on."""
    compared = [trial for trial in bracket.done(candidate) if trial.lead is not None]
    last, known = compared[-1], bracket.known[candidate]
    assert last.lead is not None
    assert last.lead_error is not None
    measured = Belief(lead=last.lead, error=last.lead_error)
    return (
        f"expected after {bracket.whole} epochs, from {_signed(measured)} on held-out training "
        f"images, epochs: {last.epochs}, and {_signed(known)} as known before"
    )


def _running(bracket: Bracket, winner: Candidate) -> str:
    """Return what the winner's network takes to run, as the end of a sentence."""
    assert winner.cost is not None
    (asked,) = bracket.problem.networks
    own = running_cost(asked.architecture)
    told = (
        f"; {winner.network} takes {winner.cost.macs:,} multiply-adds and "
        f"{winner.cost.activation_bytes:,} bytes of activations for an image"
    )
    if winner.plan.networks == bracket.problem.networks:
        return f"{told}, and is the network that was asked for"
    return (
        f"{told}, {winner.cost.macs / own.macs:.2f} and "
        f"{winner.cost.activation_bytes / own.activation_bytes:.2f} times those of "
        f"{asked.architecture.told}, which was asked for"
    )


def shown(trial: Trial) -> str:
    """Return what a training came to in words: its loss, and its lead over the reference."""
    if trial.nll is None:
        return "diverged"
    if trial.lead is None or trial.lead_error is None:
        return f"{trial.nll:.3f}"
    lead = Belief(lead=trial.lead, error=trial.lead_error)
    return f"{trial.nll:.3f}, lead {_signed(lead)}"


def _shown(belief: Belief) -> str:
    return f"{abs(belief.lead):.3f} +- {belief.error:.3f}"


def _signed(belief: Belief) -> str:
    return f"{belief.lead:+.3f} +- {belief.error:.3f}"
