"""Pictures of a plan and of a learning curve, as SVG text."""

from collections.abc import Mapping, Sequence
from typing import Any

from npas.plans import Plan


def allocation_svg(plan: Plan) -> str:
    """Draw which layers share what."""
    return f"<svg xmlns='http://www.w3.org/2000/svg'><title>{plan.method}</title></svg>"


def curve_svg(rows: Sequence[Mapping[str, Any]], title: str) -> str:
    """Draw a learning curve."""
    return f"<svg xmlns='http://www.w3.org/2000/svg'><title>{title} {len(rows)}</title></svg>"
