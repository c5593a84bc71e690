"""What a run trains: a chain of blocks or a plugin's problem, and what a solver sees of either."""
