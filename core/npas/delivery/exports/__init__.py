"""Formats of exports. One file each: NAME.py defines TARGET, with the promises of `_target.Target`."""
