"""The whole service on one machine: servers of its own, programs that are watched."""
