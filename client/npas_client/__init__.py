"""The service's Python client, and the demonstration that `make demo` runs."""
