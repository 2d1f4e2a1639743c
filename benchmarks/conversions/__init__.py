"""What `benchmarks.conversion` compares: ways to bring a trained network into a budget."""
