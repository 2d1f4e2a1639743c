"""A plan put into effect: networks whose layers read shared banks."""
