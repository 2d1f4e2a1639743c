"""The plan of the delivered network."""

from npas.artifacts import Artifact

ARTIFACT = Artifact(file="plan.json", text=lambda account: account.plan.to_json() + "\n")
