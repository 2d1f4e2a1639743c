"""What `benchmarks.joining` compares: a network that joins a bank, and ways to have it earlier."""
