"""The report: sizes, accuracy, search, versions."""

import json

from npas.artifacts import Account, Artifact


def report_json(account: Account) -> str:
    """Return the report as JSON for people."""
    return json.dumps(account.report, indent=2, allow_nan=False) + "\n"


ARTIFACT = Artifact(file="report.json", text=report_json)
