"""Floor 4: questions asked of a module and a dataset, all through one sweep over the cells."""
