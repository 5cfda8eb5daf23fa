assigned <- function(object, markers = typed()$markers, ...) {
  run_cellassign(object, markers, training = quick(150, lr = 0.05, batch_size = 32), verbose = FALSE, ...)
}

of_matrix <- function() {
  skip_without_engine()
  made$assigned <- made$assigned %||% assigned(typed()$counts)
  made$assigned
}

test_that("cells are assigned by their markers", {
  fit <- of_matrix()
  cells <- typed()
  expect_equal(fit$genes, paste0("gene", 1:12))
  expect_equal(levels(fit$coldata$cellassign.label), c("B", "Mono", "T"))
  expect_gt(mean(as.character(fit$coldata$cellassign.label) == cells$type), 0.95)
  expect_equal(dimnames(fit$probabilities), list(c("B", "Mono", "T"), colnames(cells$counts)))
  expect_equal(unname(colSums(fit$probabilities)), rep(1, 90), tolerance = 1e-5)
  expect_null(fit$latent)
})

test_that("lists, matrices and data frames of markers are one", {
  fit <- of_matrix()
  cells <- typed()
  table <- marker_table(cells$markers, NULL)
  expect_equal(dim(table), c(12, 3))
  expect_equal(sum(table), 12)
  numbers <- table + 0
  for (form in list(numbers, as.data.frame(numbers), methods::as(numbers, "CsparseMatrix"),
                    rbind(numbers, nothing = 0), lapply(cells$markers, rev))) {
    same <- marker_table(form, NULL)
    expect_equal(same[rownames(table), ], table, ignore_attr = TRUE)
  }
  expect_equal(assigned(cells$counts, numbers)$probabilities, fit$probabilities)
  other <- marker_table(c(cells$markers, list(other = character())), NULL)
  expect_equal(colSums(other), c(B = 4, Mono = 4, T = 4, other = 0))
})

test_that("Seurat and SingleCellExperiment get the same, in their places", {
  fit <- of_matrix()
  seurat <- assigned(typed_seurat())
  expect_equal(unname(seurat$cellassign.label), fit$coldata$cellassign.label)
  expect_equal(unname(seurat$cellassign.score), fit$coldata$cellassign.score)
  scores <- SeuratObject::GetAssayData(seurat[["prediction.score.cellassign"]], "data")
  expect_equal(unname(as.matrix(scores)), unname(fit$probabilities))
  expect_s3_class(get_model(seurat), "latome_model")
  expect_length(names(seurat@reductions), 0)
  expect_silent(assigned(seurat))
  sce <- assigned(typed_sce())
  expect_equal(sce$cellassign.label, fit$coldata$cellassign.label)
  expect_true("prediction.score.cellassign" %in% SingleCellExperiment::altExpNames(sce))
  expect_equal(label_probabilities(sce), t(fit$probabilities), tolerance = 1e-5)
})

test_that("size factors are over all genes, in training and when asked again", {
  fit <- of_matrix()
  cells <- typed()
  totals <- Matrix::colSums(cells$counts)
  coldata <- data.frame(size = totals / mean(totals), row.names = colnames(cells$counts))
  given <- assigned(cells$counts, size_factor = "size", coldata = coldata)
  expect_equal(given$probabilities, fit$probabilities, tolerance = 1e-4)
  expect_equal(label_probabilities(cells$counts[40:1, 7:2], fit), t(fit$probabilities)[7:2, ], tolerance = 1e-5)
  weak <- typed(fold = 0.5)$counts
  whole <- label_probabilities(weak, fit)
  expect_gt(max(abs(label_probabilities(weak[1:12, ], fit) - whole)), 1e-3)      # other totals, other size factors
})

test_that("batches and covariates reach the model", {
  skip_without_engine()
  cells <- typed()
  fit <- assigned(cells$counts, batch = "donor", coldata = cells$coldata)
  expect_equal(fit$summary$columns$batch, "donor")
  expect_gt(fit$summary$n_parameters, of_matrix()$summary$n_parameters)
  expect_match(capture.output(print(fit)), "CellAssign | 90 cells x 12 genes | 2 batches | 3 labels", fixed = TRUE,
    all = FALSE)
})

test_that("markers that say nothing are refused in words", {
  cells <- typed()
  fail <- function(markers, what) {
    expect_error(run_cellassign(cells$counts, markers, verbose = FALSE), what, class = "latome_FieldError")
  }
  expect_error(run_cellassign(cells$counts), "`markers` is absent")
  fail("gene1", "`markers` is a character")
  fail(list("gene1", "gene2"), "must have a name for each type")
  fail(list(a = 1:3, b = "gene1"), "markers of 'a' are an integer, not gene names")
  fail(list(a = "gene1"), "of 1 type; there must be at least two")
  fail(list(a = "gene1", b = character(), c = character()), "'b', 'c' have no markers")
  fail(matrix(0:1, 2, 2), "no names of genes or types")
  table <- marker_table(cells$markers, NULL) + 0
  table[2, 2] <- 0.5
  fail(table, "holds 0.5; it may hold 0 and 1 only")
  table[2, 2] <- NA
  fail(table, "holds NA")
  fail(rbind(table[1, , drop = FALSE], table[1, , drop = FALSE]), "'gene1' is in the markers more than once")
  fail(list(a = "gene1", b = c("gnee5", "gene_6x")), "None of the markers of 'b' .*Did you mean 'gene5'")
})

test_that("markers that are no genes of the data are left out, with a warning", {
  skip_without_engine()
  cells <- typed()
  markers <- cells$markers
  markers$B <- c("gene1", "gene2", "gnee3")
  expect_warning(fit <- run_cellassign(cells$counts, markers, training = quick(2), verbose = FALSE),
    "1 of 11 markers are no genes of the data and are left out: 'gnee3'")
  expect_length(fit$genes, 10)
})

test_that("what a model without a latent is not asked is said", {
  fit <- of_matrix()
  cells <- typed()
  asked <- list(latent_representation, normalized_expression, elbo, posterior_samples, minify_counts)
  for (verb in asked) expect_error(verb(cells$counts, fit), "CellAssign has no latent space", class = "latome_QueryError")
  expect_s3_class(summary(fit), "summary.latome_model")
  expect_output(print(summary(fit)), "Labels: 'B', 'Mono', 'T'")
})

test_that("a store serves as well", {
  fit <- of_matrix()
  store <- prepare_store(typed()$counts, withr::local_tempfile())
  stored <- assigned(store)
  expect_equal(stored$probabilities, fit$probabilities, tolerance = 1e-3)
  expect_equal(label_probabilities(store, stored), t(stored$probabilities), tolerance = 1e-5)
})
