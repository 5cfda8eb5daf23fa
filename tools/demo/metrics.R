# How well a space of cells separates known types and mixes batches. All are 0 at worst and 1 at best.

N_NEIGHBOURS <- 15L

# Rows: cells; columns: their nearest cells, not themselves.
neighbours_of <- function(space) {
  k <- min(N_NEIGHBOURS, nrow(space) - 1L)
  RANN::nn2(space, k = k + 1L)$nn.idx[, -1, drop = FALSE]
}

# The share of cells whose neighbours, by majority, are of their own type.
label_accuracy <- function(neighbours, labels) {
  votes <- vapply(levels(labels), function(level) {
    rowSums(matrix(labels[neighbours] == level, nrow(neighbours)))
  }, numeric(nrow(neighbours)))
  mean(levels(labels)[max.col(votes, ties.method = "first")] == labels)
}

# Neighbours from other batches over what complete mixing within each type would give, averaged over the cells
# whose type is in more than one batch. Complete mixing gives 1, up to chance.
batch_mixing <- function(neighbours, batch, labels = NULL) {
  if (is.null(labels)) labels <- factor(rep("all", length(batch)))
  share_of_batch <- prop.table(table(labels, batch), 1)
  expected <- 1 - share_of_batch[cbind(as.character(labels), as.character(batch))]
  observed <- rowMeans(matrix(batch[neighbours] != batch[row(neighbours)], nrow(neighbours)))
  sum(observed[expected > 0]) / sum(expected[expected > 0])
}

# Agreement of two partitions, corrected for chance (Hubert and Arabie, 1985).
adjusted_rand_index <- function(a, b) {
  pairs <- function(n) sum(n * (n - 1) / 2)
  both <- table(a, b)
  chance <- pairs(rowSums(both)) * pairs(colSums(both)) / pairs(sum(both))
  (pairs(both) - chance) / ((pairs(rowSums(both)) + pairs(colSums(both))) / 2 - chance)
}

# Mutual information over the mean of the two entropies.
normalised_mutual_information <- function(a, b) {
  joint <- prop.table(table(a, b))
  entropy <- function(p) -sum(p[p > 0] * log(p[p > 0]))
  separate <- entropy(rowSums(joint)) + entropy(colSums(joint))
  2 * (separate - entropy(joint)) / separate
}

# A named vector of whatever can be said with the columns there are.
measure <- function(space, batch, labels) {
  neighbours <- neighbours_of(space)
  found <- c()
  if (!is.null(labels)) {
    clusters <- stats::kmeans(space, nlevels(labels), nstart = 10, iter.max = 50)$cluster
    found <- c(
      "type of the nearest cells" = label_accuracy(neighbours, labels),
      "clusters against types (ARI)" = adjusted_rand_index(clusters, labels),
      "clusters against types (NMI)" = normalised_mutual_information(clusters, labels)
    )
  }
  if (!is.null(batch) && nlevels(batch) > 1) {
    found <- c(found, "mixing of the batches" = batch_mixing(neighbours, batch, labels))
  }
  found
}
