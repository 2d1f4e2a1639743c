"""A plan and a learning curve as pictures: SVG text that stands alone, no library needed."""

from npas.picture._allocation import allocation_svg
from npas.picture._curve import curve_svg

__all__ = ["allocation_svg", "curve_svg"]
