"""Floor 6: models on disk. Nothing read here ever runs code."""
