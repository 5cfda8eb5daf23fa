"""Floor 7: faces over one `Fit`. This one reads like the interface of the papers."""
