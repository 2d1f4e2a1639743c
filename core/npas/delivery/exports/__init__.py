"""Formats of exports: one file each, NAME.py, defines TARGET; see `_target.Target`."""
