"""A network in a file of so many bytes: weights on grids, in streams that are coded.

The layout is told in docs/coded-files.md; numpy and brotli are enough to read it.
"""
