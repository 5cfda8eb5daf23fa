"""Floor 0: sparse count minibatches and the likelihoods of counts, value and gradient in one pass."""
