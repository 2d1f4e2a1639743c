"""What `benchmarks.ensemble` compares: several networks of one bank, and other ways to as many."""
