"""What a stage trains: a chain of blocks or a problem, as the pair of energies that a solver sees."""
