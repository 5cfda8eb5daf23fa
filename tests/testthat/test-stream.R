on_disk <- function(counts) {
  skip_if_not_installed("HDF5Array")
  HDF5Array::writeHDF5Array(as.matrix(counts), tempfile(fileext = ".h5"), "counts", chunkdim = c(10L, 7L),
    with.dimnames = TRUE)
}

sce_on_disk <- function(sce = small_sce()) {
  SummarizedExperiment::assay(sce, "counts") <- on_disk(SummarizedExperiment::assay(sce, "counts"))
  sce
}

# Nothing is small, nothing is left of tests before.
local_streams <- function(env = parent.frame()) {
  skip_without_engine()
  withr::local_options(latome.in_memory = 0, latome.block = 30 * 16, .local_envir = env)
  forget_streams()
  withr::defer(forget_streams(), envir = env)
}

test_that("a model answers of counts on disk as of those in memory", {
  local_streams()
  fit <- trained()
  sce <- small_sce()
  stored <- sce_on_disk()
  expect_message(latent <- latent_representation(stored, fit),
    "Assay 'counts' \\(HDF5Matrix, 60 cells\\) stays on disk")
  expect_equal(latent, latent_representation(sce, fit), tolerance = 1e-6)
  expect_no_message({
    expect_equal(normalized_expression(stored, fit), normalized_expression(sce, fit), tolerance = 1e-6)
    expect_equal(
      differential_expression(stored, fit, group_by = "lane", ident_1 = "1"),
      differential_expression(sce, fit, group_by = "lane", ident_1 = "1"), tolerance = 1e-6
    )
    expect_equal(elbo(stored, fit), elbo(sce, fit), tolerance = 1e-6)
    some <- c(50, 3, 17)
    expect_equal(latent_representation(stored, fit, cells = some), latent[some, ], tolerance = 1e-6)
  })
})

test_that("training reads the store, writes into the object, and learns as from memory", {
  local_streams()
  options <- quick(40, lr = 0.01)
  expect_message(stored <- run_scvi(sce_on_disk(), batch = "donor", training = options), "temporary store")
  inside <- run_scvi(small_sce(), batch = "donor", training = options, verbose = FALSE)
  latent <- SingleCellExperiment::reducedDim(stored, "SCVI")
  expect_equal(rownames(latent), colnames(stored))
  fit <- get_model(stored)
  expect_equal(fit$genes, get_model(inside)$genes)
  # the order of the cells is drawn in another way, so only the loss is the same, within a percent
  of <- function(x) utils::tail(training_history(x)$elbo_validation, 1)
  expect_equal(of(stored), of(inside), tolerance = 0.01)
  expect_equal(latent_representation(stored), unclass(latent), tolerance = 1e-5, ignore_attr = TRUE)
  expect_equal(latent_representation(small_sce(), fit), unclass(latent), tolerance = 1e-5, ignore_attr = TRUE)
  expect_s4_class(SummarizedExperiment::assay(stored, "counts"), "HDF5Matrix")
})

test_that("a store is written once, and again where the counts are others", {
  local_streams()
  fit <- trained()
  sce <- sce_on_disk()
  latent_representation(sce, fit)
  expect_no_message(latent_representation(sce, fit))
  sce$more <- 1                                # columns are no part of it
  expect_no_message(run_scvi(sce, batch = "donor", training = quick(1), verbose = FALSE))
  expect_length(streams$held, 1)
  expect_message(latent_representation(sce[, 1:20], fit), "stays on disk")
  expect_length(streams$held, 2)
  # the file is written anew in the same place
  file <- HDF5Array::path(SummarizedExperiment::assay(sce))
  unlink(file)
  HDF5Array::writeHDF5Array(as.matrix(small_counts(seed = 2)), file, "counts", chunkdim = c(10L, 7L),
    with.dimnames = TRUE)
  Sys.setFileTime(file, Sys.time() + 60)
  expect_message(latent <- latent_representation(sce, fit), "stays on disk")
  expect_equal(latent, latent_representation(small_counts(seed = 2), fit, coldata = small_coldata()), tolerance = 1e-6)
})

test_that("few stores are kept, and none that fails", {
  local_streams()
  fit <- trained()
  sce <- sce_on_disk()
  for (n in 20:24) suppressMessages(latent_representation(sce[, seq_len(n)], fit))
  expect_length(streams$held, HELD)
  expect_length(list.files(streams$folder, all.files = TRUE, no.. = TRUE), HELD)
  bad <- small_sce()
  SummarizedExperiment::assay(bad, "counts")[5, 60] <- 0.5
  expect_error(suppressMessages(latent_representation(sce_on_disk(bad), fit)), "not whole numbers",
    class = "latome_FieldError")
  forget_streams()
  expect_length(list.files(streams$folder, all.files = TRUE, no.. = TRUE), 0)
})

test_that("the temporary folder may be another, and goes with the session", {
  skip_without_engine()
  skip_if_not_installed("HDF5Array")
  folder <- withr::local_tempdir()
  fresh_r(c(
    paste0("options(latome.in_memory = 0, latome.temporary = ", deparse(folder), ")"),
    "counts <- matrix(rpois(200, 3) + 1, 10, 20, dimnames = list(paste0('g', 1:10), paste0('c', 1:20)))",
    "stored <- HDF5Array::writeHDF5Array(counts, tempfile(), 'counts', with.dimnames = TRUE)",
    "fit <- run_scvi(stored, training = training_options(max_epochs = 1, threads = 1), verbose = FALSE)",
    paste0("writeLines(list.files(", deparse(folder), ", recursive = TRUE), file.path(", deparse(folder), ", 'seen'))")
  ))
  expect_match(readLines(file.path(folder, "seen")), "latome-.*counts-.*store.json", all = FALSE)
  expect_equal(list.files(folder), "seen")
})

faults <- list(
  negative = list(-1, "Assay 'counts' holds negative values such as -1"),
  fraction = list(0.5, "Assay 'counts' holds values that are not whole numbers such as 0.5.*allow_noninteger"),
  infinite = list(NaN, "Assay 'counts' holds values that are not finite such as NaN")
)
for (fault in names(faults)) {
  test_that(paste("a fault on disk is found and named as in memory:", fault), {
    local_streams()
    sce <- small_sce()
    SummarizedExperiment::assay(sce, "counts")[5, 60] <- faults[[fault]][[1]]
    inside <- expect_error(run_scvi(sce, verbose = FALSE), faults[[fault]][[2]], class = "latome_FieldError")
    stored <- expect_error(run_scvi(sce_on_disk(sce), verbose = FALSE), class = "latome_FieldError")
    expect_equal(conditionMessage(stored), conditionMessage(inside))
    expect_length(streams$held, 0)
  })
}

test_that("fractions that were allowed once are not for another", {
  local_streams()
  sce <- small_sce()
  SummarizedExperiment::assay(sce, "counts")[5, 60] <- 0.5
  sce <- sce_on_disk(sce)
  expect_no_error(run_scvi(sce, training = quick(1), allow_noninteger = TRUE, verbose = FALSE))
  expect_error(run_scvi(sce, training = quick(1), verbose = FALSE), "not whole numbers such as 0.5")
})

test_that("cells and genes without a count are named as in memory", {
  local_streams()
  sce <- small_sce()
  SummarizedExperiment::assay(sce, "counts")[1:5, c(7, 9)] <- 0
  SummarizedExperiment::assay(sce, "counts")[c(3, 6), ] <- 0
  stored <- sce_on_disk(sce)
  said <- function(object, ...) {
    unlist(lapply(rlang::catch_cnd(run_scvi(object, ...), "error"), as.character))
  }
  expect_match(said(stored, features = paste0("gene", 1:6))[[1]],
    "2 cells of assay 'counts' without any count.*'cell7'")
  for (features in list(paste0("gene", 1:6), NULL)) {
    inside <- testthat::capture_messages(try(run_scvi(sce, features = features, training = quick(1)), silent = TRUE))
    again <- testthat::capture_messages(try(run_scvi(stored, features = features, training = quick(1)), silent = TRUE))
    genes <- function(lines) grep("Genes|Leaves", lines, value = TRUE)
    expect_match(genes(inside), "Leaves out 2 genes without any count: 'gene3', 'gene6'", all = FALSE)
    expect_equal(genes(again), genes(inside))
  }
})

test_that("the object's own genes are used where they leave no cell empty", {
  local_streams()
  sce <- small_sce()
  SummarizedExperiment::assay(sce, "counts")[1:5, 7] <- 0
  own <- function(genes) {
    SingleCellExperiment::rowSubset(sce) <- genes
    stored <- sce_on_disk(sce)
    suppressMessages(get_model(run_scvi(stored, training = quick(1), verbose = FALSE))$genes)
  }
  expect_equal(own(4:12), paste0("gene", 4:12))
  expect_equal(own(1:5), rownames(sce))
})

test_that("genes are selected on disk as in memory", {
  local_streams()
  counts <- small_counts(4100, 40)
  coldata <- small_coldata(40)
  inside <- run_scvi(counts, batch = "donor", coldata = coldata, training = quick(1), verbose = FALSE)
  expect_length(inside$genes, 4000)
  stored <- run_scvi(DelayedArray::DelayedArray(counts), batch = "donor", coldata = coldata, training = quick(1),
    verbose = FALSE)
  expect_equal(stored$genes, inside$genes)
})

test_that("a column at fault is told before anything is written", {
  local_streams()
  expect_error(run_scvi(sce_on_disk(), batch = "doner", verbose = FALSE), "Did you mean 'donor'")
  expect_error(latent_representation(sce_on_disk(), trained(), cells = "nobody"), "not in the data")
  expect_length(streams$held, 0)
})

test_that("genes that the cells lacked when they were mapped are zeros", {
  local_streams()
  fit <- trained()
  fit$source$absent <- c("gene30", "gene2")
  here <- small_sce()[setdiff(rownames(small_sce()), fit$source$absent), ]
  expect_equal(suppressMessages(latent_representation(sce_on_disk(here), fit)), latent_representation(here, fit),
    tolerance = 1e-6)
})

test_that("all covariates and kinds of models come through", {
  local_streams()
  sce <- sce_on_disk(typed_sce())
  sce$number <- seq(0, 1, length.out = ncol(sce))
  sce <- suppressMessages(run_scanvi(sce, "some", batch = "donor", continuous_covariates = "number",
    training = quick(2), verbose = FALSE))
  expect_true(all(sce$predicted.scanvi %in% c("B", "Mono", "T")))
  inside <- typed_sce()
  inside$number <- sce$number
  expect_equal(label_probabilities(sce), label_probabilities(inside, get_model(sce)), tolerance = 1e-6)
  sce <- suppressMessages(run_cellassign(sce, typed()$markers, training = quick(2), verbose = FALSE))
  expect_true("cellassign.label" %in% names(SummarizedExperiment::colData(sce)))
  sce <- suppressWarnings(run_solo(sce, training = quick(1), model_training = quick(1), verbose = FALSE))
  expect_true("solo.score" %in% names(SummarizedExperiment::colData(sce)))
})

test_that("cells on disk are mapped as those in memory", {
  local_streams()
  counts <- small_counts()
  reference <- run_scvi(counts[, 1:40], coldata = small_coldata(), batch = "donor", for_mapping = TRUE,
    training = quick(), verbose = FALSE)
  query <- small_sce()[c(30:8, 1:4), 31:60]              # known batches: projected without training
  inside <- map_query(query, reference, verbose = FALSE)
  mapped <- map_query(sce_on_disk(query), reference, verbose = FALSE)
  latent <- function(x) SingleCellExperiment::reducedDim(x, "SCVI")
  expect_equal(latent(mapped), latent(inside), tolerance = 1e-6)
  expect_equal(get_model(mapped)$source$absent, get_model(inside)$source$absent)
  query$donor <- rep(c("c", "d"), 15)
  mapped <- map_query(sce_on_disk(query), reference, training = quick(), verbose = FALSE)
  expect_equal(latent_representation(query, get_model(mapped)), latent(mapped), tolerance = 1e-5, ignore_attr = TRUE)
})

test_that("blocks too large for one matrix are trained on and asked about", {
  skip_without_engine()
  withr::defer(forget_streams())
  counts <- small_counts()
  blocks <- latome_blocks(list(counts[, 40:1], counts[30:1, 41:60]), colnames(counts), rownames(counts))
  registerS3method("get_cells", "two_blocks", function(object, assay = NULL, layer = NULL, coldata = NULL, call) {
    list(counts = object$blocks, coldata = small_coldata(), features = NULL, assay = "RNA", layer = "counts",
      other_layers = "counts", where = "layer 'counts'")
  }, asNamespace("latome"))
  object <- structure(list(blocks = blocks), class = "two_blocks")
  local_replaced(is_too_large = function(counts, ...) is_apart(counts))
  expect_message(fit <- run_scvi(object, batch = "donor", training = quick()),
    "Layer 'counts' \\(latome_blocks, 60 cells\\)")
  expect_equal(rownames(fit$latent), colnames(counts))
  expect_equal(latent_representation(object, fit), latent_representation(counts, fit, coldata = small_coldata()),
    tolerance = 1e-6)
})

test_that("what cannot be recognised again is not", {
  expect_identical(files_of(list(1, "no file", NA_character_)), character())
  expect_identical(files_of(R.home()), R.home())
  expect_true(anyNA(files_of(list(a = new.env()))))
  expect_true(anyNA(files_of(function(x) x)))
  expect_identical(files_of(sum), character())
  expect_null(key_of(list(new.env())))
})
