values <- function(genes = paste0("gene", 1:2), n = 60) {
  matrix(seq_len(length(genes) * n) / 1000, length(genes), dimnames = list(genes, paste0("cell", 1:n)))
}

test_that("an assay of a Seurat object holds the values as data, under a key of its own", {
  object <- put_assay(small_seurat(), values(), "scvi_expression")
  expect_equal(as.matrix(SeuratObject::GetAssayData(object, assay = "scvi_expression")), values())
  expect_equal(SeuratObject::Key(object[["scvi_expression"]]), "scviexpression_")
  expect_equal(SeuratObject::DefaultAssay(object), "RNA")
  sparse <- put_assay(object, methods::as(values(), "CsparseMatrix"), "scvi_expression")
  expect_s4_class(SeuratObject::GetAssayData(sparse, assay = "scvi_expression"), "dgCMatrix")
  expect_silent(renamed <- put_assay(object, values(c("a_1", "b|2")), "other"))
  expect_equal(rownames(renamed[["other"]]), c("a-1", "b-2"))
})

test_that("a SingleCellExperiment has an assay where all its genes are there, else an altExp", {
  sce <- small_sce()
  whole <- put_assay(sce, values(rev(rownames(sce))), "scvi")
  expect_equal(SummarizedExperiment::assay(whole, "scvi"), values(rev(rownames(sce)))[rownames(sce), ])
  part <- put_assay(whole, values(), "scvi")
  expect_false("scvi" %in% SummarizedExperiment::assayNames(part))
  expect_equal(SummarizedExperiment::assay(SingleCellExperiment::altExp(part, "scvi"), "scvi"), values())
  colnames(sce) <- NULL
  expect_null(colnames(put_assay(sce, values(rownames(sce)), "scvi")))
})

test_that("what others wrote is not replaced, what we wrote is", {
  for (object in list(small_seurat(), small_sce())) {
    expect_silent(assay_place(object, "scvi"))
    object <- store_assay(object, values(), "scvi", "verb", list(a = 1), FALSE, NULL)
    expect_silent(assay_place(object, "scvi"))
    object <- store_assay(object, values("gene3"), "scvi", "verb", list(a = 1), FALSE, NULL)
    expect_equal(get_kept(object)$written, "scvi")
    other <- put_kept(object, list())
    expect_error(assay_place(other, "scvi"), "'scvi' already, which this function did not write", class = "latome_SettingError")
  }
  expect_error(assay_place(small_seurat(), "RNA"), "an assay 'RNA' already")
  expect_error(assay_place(small_sce(), "counts"), "an assay 'counts' already")
  expect_error(add_normalized_expression(small_counts(), model = trained()), "into a Seurat object or a SingleCell.*not a dgCMatrix",
    class = "latome_FieldError")
})

test_that("an assay may stay on disk", {
  skip_without_engine()
  sce <- run_scvi(small_sce(), batch = "donor", training = quick(), verbose = FALSE)
  file <- withr::local_tempfile(fileext = ".h5")
  if (!rlang::is_installed("HDF5Array")) {
    expect_error(add_normalized_expression(sce, file = file), "needs the package HDF5Array", class = "latome_SettingError")
  } else {
    stored <- add_normalized_expression(sce, file = file, verbose = FALSE)
    expect_s4_class(SummarizedExperiment::assay(stored, "scvi_expression"), "DelayedMatrix")
    expect_equal(as.matrix(SummarizedExperiment::assay(stored, "scvi_expression")), normalized_expression(sce), tolerance = 1e-5)
  }
  object <- run_scvi(small_seurat(), training = quick(), verbose = FALSE)
  expect_error(add_normalized_expression(object, file = file), "holds its assays in memory", class = "latome_SettingError")
})

test_that("the call is logged with plain values, and defaults come from the model's name", {
  skip_without_engine()
  object <- run_scvi(small_seurat(), batch = "donor", name = "fit1", training = quick(), verbose = FALSE)
  expect_message(object <- add_normalized_expression(object, c("gene2", "gene1"), transform_batch = "a", library_size = 1e4),
    "Sets: assay \"fit1_expression\"")
  expect_equal(as.matrix(SeuratObject::GetAssayData(object, assay = "fit1_expression")),
    normalized_expression(object, features = c("gene2", "gene1"), transform_batch = "a", library_size = 1e4), tolerance = 1e-6)
  command <- object@commands[["add_normalized_expression.fit1_expression"]]
  expect_equal(command@params[c("model", "transform_batch")], list(model = "fit1", transform_batch = "a"))
  expect_error(add_normalized_expression(object, assay = "fit1"), "a reduction 'fit1' already.*fit1_expression",
    class = "latome_SettingError")
  expect_error(add_normalized_expression(object, n_samples_overall = 3), "Unknown argument 'n_samples_overall'")
  expect_error(add_normalized_expression(object, "gene1", "x", NULL, 3), "1 argument too many without a name")
})
