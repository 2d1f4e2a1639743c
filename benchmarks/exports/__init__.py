"""Shared networks through the tools that people give exported files to."""
