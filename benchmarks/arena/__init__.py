"""What the benchmarks share: contenders in processes of their own, memory of live tensors, results as Markdown."""
