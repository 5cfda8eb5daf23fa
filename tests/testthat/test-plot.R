test_that("the training curve is a ggplot of both sets over whole epochs", {
  skip_if_not_installed("ggplot2")
  drawn <- plot(trained())
  expect_s3_class(drawn, "ggplot")
  expect_setequal(drawn$data$set, c("train", "validation"))
  expect_equal(unique(drawn$data$epoch), 1:3)
  breaks <- ggplot2::ggplot_build(drawn)$layout$panel_params[[1]]$x$breaks
  breaks <- breaks[!is.na(breaks)]
  expect_equal(breaks, round(breaks))
  expect_s3_class(plot_training(trained(), metric = "kl_local"), "ggplot")
  untrained <- trained()
  untrained$history <- untrained$history[0, ]
  expect_error(plot(untrained), "no history of training", class = "latome_QueryError")
  expect_error(plot_training(trained(), metric = "elbow"), "metric.*Did you mean 'elbo'")
})
