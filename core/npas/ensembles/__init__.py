"""Several networks that answer together: what they say, how good that is, and what it costs."""
