"""Cases of numbers that scvi-tools computed, recomputed with latome: one file for each kind of number."""
