# Cells of two types, and known doublets of both: the last 20 of each batch.
with_doublets <- function() {
  if (is.null(made$doublets)) {
    made$doublets <- withr::with_seed(5, {
      rate <- matrix(rgamma(120, 2) + 0.2, 60)
      rate[1:20, 1] <- 20
      rate[21:40, 2] <- 20
      draw <- function(type, n) matrix(as.double(rpois(60 * n, rate[, type])), 60)
      one <- function() cbind(draw(1, 90), draw(2, 90), draw(1, 20) + draw(2, 20))
      counts <- cbind(one(), one())
    })
    dimnames(made$doublets) <- list(paste0("gene", 1:60), paste0("cell", 1:400))
  }
  list(
    counts = made$doublets, is_doublet = rep(rep(c(FALSE, TRUE), c(180, 20)), 2),
    coldata = data.frame(lane = rep(c("L1", "L2"), each = 200), row.names = colnames(made$doublets))
  )
}

solo <- function(object, ...) {
  run_solo(object, batch = "lane", training = quick(40, lr = 0.01), model_training = quick(40, lr = 0.01), ...)
}

found_doublets <- function() {
  skip_without_engine()
  if (is.null(made$solo)) {
    cells <- with_doublets()
    made$solo <- solo(cells$counts, coldata = cells$coldata, verbose = FALSE)
  }
  made$solo
}

# Chance that a doublet has a higher score than a singlet.
auroc <- function(score, truth) {
  ranks <- rank(score)
  (mean(ranks[truth]) - (sum(truth) + 1) / 2) / sum(!truth)
}

test_that("doublets of two types are found, batch by batch", {
  found <- found_doublets()
  cells <- with_doublets()
  expect_s3_class(found, "latome_doublets")
  expect_equal(rownames(found$scores), colnames(cells$counts))
  expect_gt(auroc(found$scores$score, cells$is_doublet), 0.99)
  expect_gt(mean((found$scores$class == "doublet") == cells$is_doublet), 0.97)
  expect_equal(found$scores$class == "doublet", found$scores$score > 0.5)
  expect_equal(as.integer(table(found$simulated$batch)), c(400, 400))          # twice the cells of each batch
  expect_equal(names(found$models), c("L1", "L2"))
  expect_equal(found$models$L1$summary$n_cells, 600)                             # with the simulated ones
  expect_true(all(found$scores$score >= 0 & found$scores$score <= 1))
  expect_match(capture.output(print(found)), "of 400 cells called doublets", all = FALSE)
})

test_that("Seurat and SingleCellExperiment get the same scores, and hold the rest", {
  found <- found_doublets()
  cells <- with_doublets()
  sce <- SingleCellExperiment::SingleCellExperiment(list(counts = cells$counts), colData = S4Vectors::DataFrame(cells$coldata))
  sce <- solo(sce, verbose = FALSE)
  expect_equal(sce$solo.score, found$scores$score)
  expect_equal(levels(sce$solo.class), c("singlet", "doublet"))
  expect_equal(get_doublets(sce)$scores$batch, found$scores$batch)
  expect_equal(get_doublets(sce)$simulated, found$simulated)
  expect_null(get_models(sce))
  seurat <- suppressWarnings(SeuratObject::CreateSeuratObject(cells$counts, meta.data = cells$coldata))
  said <- capture_messages(seurat <- solo(seurat))
  expect_equal(unname(seurat$solo.score), found$scores$score)
  expect_match(said, "Trains an scVI of all cells first", all = FALSE)
  expect_match(said, "Solo of batch 'L1' | 200 cells | 400 simulated doublets", fixed = TRUE, all = FALSE)
  expect_match(said, "Batch 'L2': [0-9]+ of 200 cells called doublets \\([0-9.]+%\\)", all = FALSE)
  expect_match(said, "Sets: columns \"solo.class\", \"solo.score\"", all = FALSE)
  expect_equal(nrow(get_doublets(seurat[, 1:50])$scores), 50)
  expect_silent(solo(seurat, verbose = FALSE))
  expect_error(get_doublets(seurat, "sol"), "Did you mean 'solo'", class = "latome_QueryError")
  expect_error(get_doublets(small_seurat()), "no doublets of run_solo")
})

test_that("a trained scVI is used, with its batches or others", {
  skip_without_engine()
  cells <- with_doublets()
  parent <- run_scvi(cells$counts, categorical_covariates = "lane", coldata = cells$coldata, training = quick(40, lr = 0.01),
    verbose = FALSE)
  run <- function(...) {
    run_solo(cells$counts, model = parent, coldata = cells$coldata, training = quick(20, lr = 0.01), verbose = FALSE, ...)
  }
  together <- run()
  expect_equal(nlevels(together$scores$batch), 1)
  expect_gt(auroc(together$scores$score, cells$is_doublet), 0.9)
  apart <- run(batch = "lane", keep_model = "none")
  expect_equal(levels(apart$scores$batch), c("L1", "L2"))
  expect_null(apart$models)
  expect_equal(nrow(run(doublet_ratio = 0.5)$simulated), 200)
  expect_error(run(doublet_ratio = 0), "`doublet_ratio` must be one number, above 0")
  expect_error(run(model_training = 5), "made by training_options")
})

test_that("a batch of too few cells is left out, and that is said", {
  skip_without_engine()
  cells <- with_doublets()
  coldata <- transform(cells$coldata, lane = c(rep("tiny", 4), rep("large", 396)))
  expect_warning(found <- solo(cells$counts, coldata = coldata, verbose = FALSE), "Batch 'tiny' has 4 cells, too few")
  expect_true(all(is.na(found$scores$class[1:4])))
  expect_false(anyNA(found$scores$class[-(1:4)]))
})

test_that("the share that is expected is called, batch by batch", {
  cells <- with_doublets()
  found <- found_doublets()
  again <- solo(cells$counts, coldata = cells$coldata, verbose = FALSE, expected = c(L2 = 0.05, L1 = 0.1, L3 = 0.2))
  expect_equal(again$scores$score, found$scores$score)
  called <- split(again$scores, again$scores$batch)
  expect_equal(vapply(called, function(part) sum(part$class == "doublet"), 0), c(L1 = 20, L2 = 10))
  for (part in called) expect_gt(min(part$score[part$class == "doublet"]), max(part$score[part$class == "singlet"]))
  expect_equal(names(again$cuts), c("L1", "L2"))
  expect_output(print(again), "30 of 400 cells called doublets .*by the share expected")
  skip_if_not_installed("ggplot2")
  lines <- ggplot2::layer_data(plot_doublets(again), 2)
  expect_equal(lines$xintercept, unname(again$cuts))
  expect_equal(unique(ggplot2::layer_data(plot_doublets(found), 2)$xintercept), 0.5)
})

test_that("scores are cut without batches, with ties and with cells that have none", {
  scores <- data.frame(batch = factor(rep("", 5)), score = c(0.9, 0.2, NA, 0.8, 0.8))
  expect_equal(unname(cuts_by_batch(scores, NULL)), 0.5)
  cut <- cuts_by_batch(scores, expected_by_batch(0.25, "", NULL))
  expect_equal(which(scores$score > cut), 1L)
  expect_equal(cuts_of(list(cuts = cut), scores$batch), rep(0.8, 5))
})

test_that("a share that cannot be is refused before any work", {
  skip_without_engine()
  cells <- with_doublets()
  run <- function(expected) {
    run_solo(cells$counts, batch = "lane", coldata = cells$coldata, expected = expected, model_training = quick(1e6))
  }
  for (expected in list(8, 0, NA_real_, "0.1", c(0.1, 0.2))) expect_error(run(expected), "`expected` must be a share")
  expect_error(run(c(L1 = 0.1, l2 = 0.1)), "no share for batch 'L2'.*Did you mean 'l2'", class = "latome_error")
})

test_that("calls that cannot be are doubted", {
  scores <- data.frame(batch = factor(rep("L1", 4)), score = c(1, 1, 1, 0), class = c(rep("doublet", 3), "singlet"))
  expect_warning(say_doublets(scores, FALSE), "More than half of the cells of batch 'L1' are called doublets")
  expect_silent(say_doublets(scores[3:4, ], FALSE))
  expect_message(say_doublets(scores[3:4, ], TRUE), "Batch 'L1': 1 of 2 cells called a doublet \\(50.0%\\)")
})

test_that("scores are drawn, observed and simulated", {
  skip_if_not_installed("ggplot2")
  drawn <- plot_doublets(found_doublets(), bins = 10)
  expect_s3_class(drawn, "ggplot")
  expect_equal(as.integer(table(drawn$data$set)), c(400, 800))
  expect_silent(ggplot2::ggplot_build(drawn))
})

test_that("a store serves as well", {
  skip_without_engine()
  cells <- with_doublets()
  store <- prepare_store(cells$counts, withr::local_tempfile(), coldata = cells$coldata)
  found <- solo(store, verbose = FALSE)
  expect_gt(mean((found$scores$class == "doublet") == cells$is_doublet), 0.97)
  expect_equal(rownames(found$scores), colnames(cells$counts))
})
