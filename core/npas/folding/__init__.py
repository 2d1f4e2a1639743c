"""Near-equal layers become one, and equal ones in a row become loops."""
