"""Floor 6: models built on fitted models, or on tables of their own."""
