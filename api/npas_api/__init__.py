"""The HTTP API: parse, call the store, shape the answer."""
