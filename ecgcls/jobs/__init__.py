"""What the commands do: one module per job, which reads, computes and writes in a fixed order."""
