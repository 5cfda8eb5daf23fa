test_that("glance() is one row of what the model is", {
  skip_if_not_installed("generics")
  one <- generics::glance(trained())
  expect_equal(nrow(one), 1)
  expect_equal(one[c("kind", "n_cells", "n_genes", "n_batches", "epochs", "device")],
    data.frame(kind = "scvi", n_cells = 60L, n_genes = 30L, n_batches = 2L, epochs = 3L, device = "cpu"))
  expect_equal(one$elbo_train, tail(training_history(trained())$elbo_train, 1))
  expect_equal(one$seed, 42)
  expect_gt(one$seconds, 0)
  labels <- generics::glance(labelled())
  expect_equal(nrow(rbind(one, labels)), 2)            # models side by side
})

test_that("tidy() is the history in long form", {
  skip_if_not_installed("generics")
  long <- generics::tidy(trained())
  expect_named(long, c("epoch", "metric", "set", "value"))
  history <- training_history(trained())
  found <- long[long$metric == "elbo" & long$set %in% "validation", ]
  expect_equal(found$value, history$elbo_validation)
  expect_true(all(is.na(long$set[long$metric == "kl_weight"])))
  untrained <- trained()
  untrained$history <- untrained$history[0, ]
  expect_equal(dim(generics::tidy(untrained)), c(0, 4))
})

test_that("augment() adds latent and labels by the names of cells", {
  skip_if_not_installed("generics")
  all <- generics::augment(trained())
  expect_equal(as.matrix(all), trained()$latent, ignore_attr = TRUE)
  data <- data.frame(x = 1:3, row.names = c("cell9", "other", "cell2"))
  found <- generics::augment(trained(), data = data)
  expect_equal(rownames(found), rownames(data))
  expect_equal(found$.latent_1, unname(trained()$latent[match(rownames(data), rownames(trained()$latent)), 1]))
  expect_true(is.na(found$.latent_1[[2]]))
  expect_equal(generics::augment(labelled())$.label, predict(labelled())$label)
  bare <- trained()
  bare$latent <- NULL
  expect_error(generics::augment(bare), "remembers no cells", class = "latome_QueryError")
  expect_error(generics::augment(trained(), data = data.frame(x = 1)), "no row for any cell",
    class = "latome_FieldError")
  expect_error(generics::augment(trained(), data = 1), "must be a data.frame", class = "latome_FieldError")
})
