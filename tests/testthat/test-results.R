test_that("columns are put by name, and NA where there is none", {
  columns <- data.frame(row.names = c("cell3", "cell1"), kind = factor(c("b", "a"), c("b", "a")), score = c(0.3, 0.1))
  for (object in list(small_seurat(n_cells = 4), small_sce(n_cells = 4))) {
    object <- put_coldata(object, columns)
    found <- get_coldata(object)
    expect_equal(as.character(found$kind), c("a", NA, "b", NA))
    expect_equal(levels(found$kind), c("b", "a"))
    expect_equal(found$score, c(0.1, NA, 0.3, NA))
    expect_true("kind" %in% coldata_names(object))
  }
  genes <- data.frame(row.names = c("gene2", "gene1"), autozi.p = c(0.2, 0.1))
  seurat <- put_rowdata(small_seurat(n_genes = 3), genes, "RNA")
  expect_equal(seurat[["RNA"]][[]]$autozi.p, c(0.1, 0.2, NA))
  sce <- put_rowdata(small_sce(n_genes = 3), genes, "counts")
  expect_equal(SummarizedExperiment::rowData(sce)$autozi.p, c(0.1, 0.2, NA))
  expect_equal(rowdata_names(sce), "autozi.p")
  expect_true("autozi.p" %in% rowdata_names(seurat))
})

test_that("loadings go with the latent", {
  latent <- matrix(rnorm(120), 60, dimnames = list(paste0("cell", 1:60), NULL))
  loadings <- matrix(1:4 / 4, 2, dimnames = list(c("gene2", "gene1"), NULL))
  object <- put_latent(small_seurat(), latent, "ldvae", "RNA", loadings)
  expect_equal(SeuratObject::Loadings(object, "ldvae"),
    matrix(1:4 / 4, 2, dimnames = list(c("gene2", "gene1"), c("ldvae_1", "ldvae_2"))))
  sce <- put_latent(small_sce(), latent, "ldvae", "counts", loadings)
  expect_equal(attr(SingleCellExperiment::reducedDim(sce, "LDVAE"), "rotation"),
    matrix(1:4 / 4, 2, dimnames = list(c("gene2", "gene1"), c("LDVAE_1", "LDVAE_2"))))
})

test_that("what others put there is never overwritten, and that is said before training", {
  objects <- list(typed_seurat(), typed_sce())
  for (object in objects) {
    theirs <- object
    theirs$predicted.scanvi <- "mine"
    expect_error(run_scanvi(theirs, "some"), "column \"predicted.scanvi\" of the cell data, and the name is taken",
      class = "latome_SettingError")
    theirs <- put_assay(object, matrix(0, 2, 90, dimnames = list(c("a", "b"), colnames(object))), "prediction.score.scanvi")
    expect_error(run_scanvi(theirs, "some"), "assay \"prediction.score.scanvi\", and the name is taken")
    theirs <- object
    theirs$solo.class <- "mine"
    expect_error(run_solo(theirs), "column \"solo.class\"")
    theirs <- object
    theirs$cellassign.label <- "mine"
    expect_error(run_cellassign(theirs, typed()$markers), "column \"cellassign.label\"")
  }
  skip_without_engine()
  sce <- objects[[2]]
  sce$predicted.scanvi <- "mine"
  sce <- run_scanvi(sce, "some", name = "second", training = quick(1), verbose = FALSE)
  expect_equal(unique(sce$predicted.scanvi), "mine")
  expect_s3_class(sce$predicted.second, "factor")
})

test_that("what is ours is known after subsetting and binding", {
  skip_without_engine()
  sce <- run_scanvi(typed_sce(), "some", training = quick(1), verbose = FALSE)
  parts <- SummarizedExperiment::cbind(sce[, 1:40], sce[, 41:90])
  expect_silent(parts <- run_scanvi(parts, "some", training = quick(1), verbose = FALSE))
  expect_equal(ncol(SingleCellExperiment::altExp(parts, "prediction.score.scanvi")), 90)
})

test_that("no model is kept where none is wanted, and results are ours all the same", {
  skip_without_engine()
  run <- function(object) run_scanvi(object, "some", training = quick(1), keep_model = "none", verbose = FALSE)
  object <- run(typed_seurat())
  expect_null(get_models(object))
  expect_setequal(get_kept(object)$columns, c("predicted.scanvi", "predicted.scanvi.score"))
  expect_error(run(object), "reduction \"scanvi\"")            # as with run_scvi(): a reduction without its model is not known
})

test_that("results are said, and the call is logged without models", {
  skip_without_engine()
  said <- capture_messages(object <- run_scanvi(typed_seurat(), "some", training = quick(1)))
  expect_match(utils::tail(said, 1), paste("Sets: reduction \"scanvi\", columns \"predicted.scanvi\", \"predicted.scanvi.score\",",
    "assay \"prediction.score.scanvi\", model \"scanvi\""))
  command <- object@commands[["run_scanvi.RNA"]]
  expect_equal(command@params$labels, "some")
  expect_true(all(vapply(command@params, is.atomic, NA)))
})

test_that("a job of scANVI gives its labels to an object", {
  skip_without_engine()
  skip_if_not_installed("processx")
  folder <- withr::local_tempfile()
  write_job(typed_sce(), folder, "scanvi", labels = "named", unlabeled = "Unknown", training = quick(2), verbose = FALSE)
  environment <- c("current", PYTHONPATH = system.file("python", package = "latome"), LD_LIBRARY_PATH = "",
    OMP_NUM_THREADS = "1")
  processx::run(reticulate::py_exe(), c("-m", "latome", "train", folder), env = environment)
  sce <- read_job(typed_sce(), folder, verbose = FALSE)
  expect_s3_class(sce$predicted.scanvi, "factor")
  expect_equal(levels(sce$predicted.scanvi), c("B", "Mono", "T"))
})

test_that("a job of a linear decoder gives its loadings, also of a matrix", {
  skip_without_engine()
  skip_if_not_installed("processx")
  folder <- withr::local_tempfile()
  write_job(typed()$counts, folder, "ldvae", n_latent = 3, training = quick(2), verbose = FALSE)
  environment <- c("current", PYTHONPATH = system.file("python", package = "latome"), LD_LIBRARY_PATH = "",
    OMP_NUM_THREADS = "1")
  processx::run(reticulate::py_exe(), c("-m", "latome", "train", folder), env = environment)
  fit <- read_job(typed()$counts, folder, verbose = FALSE)
  expect_equal(dim(fit$loadings), c(40, 3))
  expect_equal(fit$loadings, feature_loadings(fit))
  expect_error(write_job(typed()$counts, withr::local_tempfile(), "solo"), "`model` must be one of")
})
