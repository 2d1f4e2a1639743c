"""The learning curve as a table, a line for each epoch."""

import csv
import io
from dataclasses import fields

from npas.artifacts import Account, Artifact
from npas.train import Row


def metrics_csv(account: Account) -> str:
    """Return the rows as CSV; what is None stays empty."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    names = [field.name for field in fields(Row)]
    writer.writerow(names)
    for row in account.rows:
        writer.writerow(["" if (v := getattr(row, n)) is None else v for n in names])
    return text.getvalue()


ARTIFACT = Artifact(file="metrics.csv", text=metrics_csv)
