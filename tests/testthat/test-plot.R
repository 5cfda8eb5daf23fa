test_that("the training curve is a ggplot of both sets over whole epochs", {
  skip_if_not_installed("ggplot2")
  drawn <- plot(trained())
  expect_s3_class(drawn, "ggplot")
  expect_setequal(drawn$data$set, c("train", "validation"))
  expect_equal(unique(drawn$data$epoch), 1:3)
  breaks <- ggplot2::ggplot_build(drawn)$layout$panel_params[[1]]$x$breaks
  breaks <- breaks[!is.na(breaks)]
  expect_equal(breaks, round(breaks))
  expect_gte(min(breaks), 1)
  expect_match(drawn$labels$y, "nats per cell")
  expect_s3_class(plot_training(trained(), metric = "kl_local"), "ggplot")
  untrained <- trained()
  untrained$history <- untrained$history[0, ]
  expect_error(plot(untrained), "no history of training", class = "latome_QueryError")
  expect_error(plot_training(trained(), metric = "elbow"), "metric.*Did you mean 'elbo'")
})

test_that("autoplot() draws what plot() draws", {
  skip_if_not_installed("ggplot2")
  expect_equal(ggplot2::layer_data(ggplot2::autoplot(trained())), ggplot2::layer_data(plot(trained())))
})

test_that("the steep fall at the start of a loss does not flatten what comes after", {
  curve <- data.frame(epoch = 1:100, value = c(1e4, 5e3, 2e3, 1e3, 500, 200 - (6:100) / 10), set = "train")
  expect_equal(settled_range(curve, "elbo"), c(190, 199.4))
  expect_null(settled_range(curve, "accuracy"))
  expect_null(settled_range(curve[1:10, ], "elbo"))
})

test_that("latent dimensions that are not used are marked", {
  skip_if_not_installed("ggplot2")
  used <- data.frame(dimension = c(2, 3, 1), kl = c(2, 0.004, 0.001), sd = c(1, 0.09, 0.01))
  drawn <- draw_dimensions(used)
  bars <- ggplot2::layer_data(drawn, 1)
  expect_equal(bars$y, used$kl)
  expect_equal(bars$fill == GREY, c(FALSE, TRUE, TRUE))
  expect_equal(nrow(ggplot2::layer_data(drawn, 2)), 2)
  expect_length(draw_dimensions(used[1, ])$layers, 1)
})

test_that("the KL divergence of a dimension is that of normal distributions", {
  mean <- cbind(c(0, 1, -1), 0)
  variance <- cbind(c(1, 1, 1), c(0.25, 0.25, 0.25))
  table <- dimension_table(mean, variance)
  expect_equal(table$kl, c(mean(c(0, 1, 1)) / 2, (0.25 - 1 - log(0.25)) / 2))
  expect_equal(table$sd, c(1, 0))
  expect_equal(dimension_table(mean[, 2:1], variance[, 2:1])$dimension, c(2, 1))       # the most used first
})

test_that("names of points are repelled where ggrepel is there, and else may not overlap", {
  skip_if_not_installed("ggplot2")
  mapping <- ggplot2::aes(label = gene)
  if (requireNamespace("ggrepel", quietly = TRUE)) {
    expect_s3_class(name_points(data.frame(gene = "a"), mapping)$geom, "GeomTextRepel")
  } else {
    expect_true(name_points(data.frame(gene = "a"), mapping)$geom_params$check_overlap)
  }
})

test_that("a heat map of labels has the share of each row, and the cells of it", {
  skip_if_not_installed("ggplot2")
  given <- factor(c("B", "B", "B", "B", "T", "T", "(none)"), c("B", "T", "(none)"))
  predicted <- factor(c("B", "B", "B", "T", "T", "T", "T"), c("B", "T"))
  drawn <- draw_confusion(confusion(given, predicted), "scANVI")
  cells <- drawn$data
  expect_equal(cells$share[cells$given == "B" & cells$predicted == "T"], 0.25)
  expect_equal(tapply(cells$share, cells$given, sum), c(B = 1, T = 1, "(none)" = 1), ignore_attr = TRUE)
  labels <- ggplot2::layer_data(drawn, 2)$label
  expect_setequal(labels, c("75", "25", "100", ""))
  rows <- ggplot2::ggplot_build(drawn)$layout$panel_params[[1]]$y$get_labels()
  expect_equal(rev(rows), c("B (4)", "T (2)", "(none) (1)"))
})

test_that("doublets are counted by batch in the strips of their histogram", {
  skip_if_not_installed("ggplot2")
  scores <- data.frame(batch = factor(c("a", "a", "a", "a", "b", "b", "c")),
    score = c(0.9, 0.1, 0.2, 0.3, 0.8, 0.1, NA))
  scores$class <- factor(ifelse(scores$score > 0.5, "doublet", "singlet"), c("singlet", "doublet"))
  expect_equal(doublet_rates(scores), c(a = "a: 25.0% called", b = "b: 50.0% called", c = "c"))
  found <- structure(list(scores = scores, simulated = data.frame(batch = factor(c("a", "b")), score = c(0.95, 0.7))),
    class = "latome_doublets")
  drawn <- plot_doublets(found, bins = 10)
  bars <- ggplot2::layer_data(drawn)
  expect_equal(sum(bars$count), 8)                     # what was not scored is not drawn
  expect_equal(bars$count[bars$PANEL == 1 & bars$x == 0.95 & bars$fill == BLUE], 0)
  expect_equal(sum(bars$count[bars$fill == VERMILION]), 2)
})

test_that("a check of a share is drawn on equal axes, one of variation on a logarithmic one", {
  skip_if_not_installed("ggplot2")
  check <- data.frame(gene = letters[1:4], observed = c(0.5, 1, 10, 0), predicted = c(0.6, 1.5, 8, 1), sd = 0.1)
  attr(check, "metric") <- "cv"
  points <- ggplot2::layer_data(plot_predictive(check))
  expect_equal(points$x, log10(c(0.5, 1, 10)))         # 0 has no logarithm
  attr(check, "metric") <- "zero_fraction"
  drawn <- plot_predictive(check)
  expect_equal(ggplot2::layer_data(drawn)$y, check$predicted)
  expect_match(drawn$labels$subtitle, "rank correlation 0.800")
  panel <- ggplot2::ggplot_build(drawn)$layout$panel_params[[1]]
  expect_equal(panel$x.range, panel$y.range)
})

test_that("breaks of loadings are symmetric and inside", {
  expect_equal(symmetric_breaks(c(-1, 1)), c(-0.7, 0, 0.7))
  expect_equal(symmetric_breaks(c(-0.1, 1)), c(0, 0.7))
})

test_that("plots are of two colours that colour-blind eyes tell apart, and print nothing", {
  skip_if_not_installed("ggplot2")
  expect_silent(drawn <- plot(trained()))
  expect_setequal(ggplot2::layer_data(drawn)$colour, c("#0072B2", "#D55E00"))
})
