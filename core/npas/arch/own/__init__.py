"""Networks that are given as modules of the user's own: what is read off them, and checked."""
