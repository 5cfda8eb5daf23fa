# A reference of cells of two donors, and new cells of two more.
parts <- function() {
  coldata <- small_coldata(120)
  coldata$donor <- rep(c("a", "b", "c", "d"), each = 30)
  counts <- small_counts(n_cells = 120)
  list(counts = counts, coldata = coldata, old = 1:60, new = 61:120)
}

for_mapping <- new.env()
reference <- function() {
  skip_without_engine()
  if (is.null(for_mapping$fit)) {
    all <- parts()
    for_mapping$fit <- run_scvi(all$counts[, all$old], batch = "donor", categorical_covariates = "lane",
      coldata = all$coldata[all$old, ], for_mapping = TRUE, training = quick(), verbose = FALSE)
  }
  for_mapping$fit
}

mapped <- function(query = NULL, ..., training = quick(weight_decay = 0.1), verbose = FALSE) {
  all <- parts()
  map_query(query %||% all$counts[, all$new], reference(), ..., coldata = all$coldata, training = training,
    verbose = verbose)
}

test_that("the reference stays as it is, bit for bit, and new cells move", {
  fit <- reference()
  all <- parts()
  new <- mapped()
  old <- all$counts[, all$old]
  expect_identical(latent_representation(old, new, coldata = all$coldata),
    latent_representation(old, fit, coldata = all$coldata))
  expect_identical(normalized_expression(old, new, coldata = all$coldata, seed = 1),
    normalized_expression(old, fit, coldata = all$coldata, seed = 1))
  begun <- mapped(training = quick(max_epochs = 1, lr = 1e-12))
  expect_gt(max(abs(new$latent - begun$latent)), 1e-4)
  expect_identical(new$levels$batch, c("a", "b", "c", "d"))
  expect_equal(nrow(new$history), 3)
  expect_output(print(new), "Mapped onto a reference")
  expect_equal(rownames(new$latent), colnames(all$counts)[all$new])
})

test_that("mapping goes on from its result, which stays as well", {
  all <- parts()
  first <- mapped(all$counts[, 61:90])
  second <- map_query(all$counts[, 91:120], first, coldata = all$coldata, training = quick(), verbose = FALSE)
  expect_identical(second$levels$batch, c("a", "b", "c", "d"))
  before <- latent_representation(all$counts[, 61:90], first, coldata = all$coldata)
  expect_identical(latent_representation(all$counts[, 61:90], second, coldata = all$coldata), before)
})

test_that("a saved model holds the reference", {
  new <- mapped()
  file <- withr::local_tempfile()
  saveRDS(new, file)
  again <- readRDS(file)
  expect_identical(again, new)
  expect_match(again$document, '"held"', fixed = TRUE)
})

test_that("missing genes are zeros, are told of, and stay so in later questions", {
  reference()
  all <- parts()
  fewer <- all$counts[30:4, all$new]
  expect_message(new <- mapped(fewer, verbose = TRUE), "90% of the 30 of the reference.*3 count as zero \\('gene1'")
  zeros <- all$counts[, all$new]
  zeros[1:3, ] <- 0
  expect_equal(new$latent, mapped(zeros)$latent, tolerance = 1e-6)
  expect_equal(latent_representation(fewer, new, coldata = all$coldata), new$latent, tolerance = 1e-5)
  expect_error(mapped(all$counts[1:10, all$new]), "10 of the model's 30 genes \\(33%\\); at least 50%",
    class = "latome_QueryError")
  expect_error(mapped(fewer, min_overlap = 0.95), "at least 95%", class = "latome_QueryError")
  named <- all$counts[, all$new]
  rownames(named) <- toupper(rownames(named))
  expect_error(mapped(named), "upper and lower case", class = "latome_QueryError")
})

test_that("cells of a store are mapped as those of a matrix", {
  fit <- reference()
  all <- parts()
  path <- withr::local_tempdir()
  store <- prepare_store(all$counts[, all$new], file.path(path, "all"), coldata = all$coldata[all$new, ])
  new <- map_query(store, fit, training = quick(weight_decay = 0.1), verbose = FALSE)
  expect_equal(new$latent, mapped()$latent, tolerance = 0.05)         # a store is shuffled in its own way
  fewer <- prepare_store(all$counts[4:30, all$new], file.path(path, "fewer"), coldata = all$coldata[all$new, ])
  expect_error(map_query(fewer, fit), "3 of the 30 genes of the model are not in the data", class = "latome_QueryError")
})

test_that("names with _ are found as Seurat spells them", {
  expect_identical(spelled_as(c("HLA-A", "B", "x-y", "x_y"), c("HLA_A", "B", "x_y")), c("HLA_A", "B", "x-y", "x_y"))
})

test_that("a reference whose encoder takes no covariates is projected without training, and it is said", {
  all <- parts()
  fit <- trained()
  said <- testthat::capture_messages(
    new <- map_query(all$counts[, all$new], fit, coldata = all$coldata, training = quick()))
  expect_match(paste(said, collapse = ""),
    "New categories: batch 'c', 'd'.*without training: the encoder.*for_mapping = TRUE")
  expect_equal(nrow(new$history), 0)
  expect_equal(unname(new$latent), unname(latent_representation(all$counts[, all$new], fit,
    coldata = transform(all$coldata, donor = "a"))), tolerance = 1e-6)
  expect_message(map_query(all$counts[, all$old], fit, coldata = all$coldata), "no new category")
})

test_that("a reference without a batch is one, beside which those of the query stand", {
  skip_without_engine()
  all <- parts()
  fit <- run_scvi(all$counts[, all$old], for_mapping = TRUE, training = quick(), verbose = FALSE)
  new <- map_query(all$counts[, all$new], fit, batch = "donor", coldata = all$coldata, training = quick(),
    verbose = FALSE)
  expect_identical(new$levels$batch, c("all", "c", "d"))
  expect_identical(new$summary$columns$batch, "donor")
  expect_equal(latent_representation(all$counts[, all$new], new, coldata = all$coldata), new$latent, tolerance = 1e-5)
})

test_that("columns may have other names in the query", {
  all <- parts()
  names(all$coldata)[names(all$coldata) == "donor"] <- "patient"
  fit <- reference()
  query <- all$counts[, all$new]
  expect_error(map_query(query, fit, coldata = all$coldata), "no column 'donor'", class = "latome_FieldError")
  new <- map_query(query, fit, batch = "patient", coldata = all$coldata, training = quick(), verbose = FALSE)
  expect_identical(new$summary$columns$batch, "patient")
})

test_that("results are stored in a Seurat object, and a reference may be one", {
  skip_if_not_installed("SeuratObject")
  object <- small_seurat(n_cells = 120)
  object$donor <- rep(c("a", "b", "c", "d"), each = 30)
  reference <- run_scvi(object[, 1:60], batch = "donor", for_mapping = TRUE, name = "atlas", training = quick(),
    verbose = FALSE)
  query <- map_query(object[, 61:120], reference, training = quick(), verbose = FALSE)
  expect_true("atlas" %in% SeuratObject::Reductions(query))
  expect_identical(get_model(query)$levels$batch, c("a", "b", "c", "d"))
  expect_equal(unname(latent_representation(query)), unname(SeuratObject::Embeddings(query, "atlas")), tolerance = 1e-5)
  other <- map_query(object[, 61:120], reference, name = "other", training = quick(), verbose = FALSE)
  expect_true("other" %in% SeuratObject::Reductions(other))
})

test_that("results are stored in a SingleCellExperiment", {
  sce <- small_sce(n_cells = 120)
  sce$donor <- rep(c("a", "b", "c", "d"), each = 30)
  query <- map_query(sce[, 61:120], run_scvi(sce[, 1:60], batch = "donor", for_mapping = TRUE, training = quick(),
    verbose = FALSE), training = quick(), verbose = FALSE)
  expect_equal(dim(SingleCellExperiment::reducedDim(query, "SCVI")), c(60, 10))
  expect_equal(get_model(query)$summary$n_cells, 60)
})

test_that("a reference that learnt labels gives them to new cells", {
  skip_without_engine()
  all <- parts()
  object <- small_seurat(n_cells = 120)
  object$donor <- all$coldata$donor
  object$kind <- rep(c("one", "two"), length.out = 120)
  object$kind[1:10] <- "?"
  reference <- run_scanvi(object[, 1:60], labels = "kind", unlabeled = "?", batch = "donor", encode_covariates = TRUE,
    training = quick(60, n_epochs_kl_warmup = 20), verbose = FALSE)
  query <- object[, 61:120]
  query$truth <- query$kind
  query$kind <- NULL
  new <- map_query(query, reference, training = quick(5), verbose = FALSE)
  expect_true(all(c("predicted.scanvi", "predicted.scanvi.score") %in% colnames(new[[]])))
  expect_gt(mean(as.character(new$predicted.scanvi) == new$truth), 0.8)
  expect_true("prediction.score.scanvi" %in% SeuratObject::Assays(new))
  query$kind <- "three"
  expect_error(map_query(query, reference, training = quick(), verbose = FALSE), "not trained on: 'three'",
    class = "latome_FieldError")
})

bad_calls <- list(
  "no model" = list(quote(map_query(counts, 3)), "latome"),
  "no reference" = list(quote(map_query(counts, counts)), "no model of latome"),
  "typo" = list(quote(map_query(counts, fit, min_overlop = 1)), "Unknown argument 'min_overlop'.*'min_overlap'"),
  "overlap" = list(quote(map_query(counts, fit, min_overlap = 50)), "min_overlap"),
  "covariates" = list(quote(map_query(counts, fit, batch = "donor", categorical_covariates = c("lane", "type"),
    coldata = coldata)), "the reference has"),
  "training" = list(quote(map_query(counts, fit, training = 3)), "training")
)
for (case in names(bad_calls)) {
  test_that(paste("bad call:", case), {
    fit <- reference()
    all <- parts()
    counts <- all$counts[, all$new]
    coldata <- transform(all$coldata, type = "x")
    expect_error(eval(bad_calls[[case]][[1]]), bad_calls[[case]][[2]], class = "latome_error")
  })
}
