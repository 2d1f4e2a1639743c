"""A network shared within so many bytes, against the same network without sharing."""
