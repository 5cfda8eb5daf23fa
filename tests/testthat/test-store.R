written_store <- function(object, ..., folder = withr::local_tempdir(.local_envir = env), env = parent.frame()) {
  prepare_store(object, file.path(folder, "store"), ...)
}

test_that("a store holds what the object holds, and trains the same model", {
  skip_without_engine()
  skip_if_process()
  counts <- small_counts()
  store <- written_store(counts, coldata = small_coldata())
  expect_s3_class(store, "latome_store")
  expect_equal(store[c("cells", "genes", "columns")],
    list(cells = colnames(counts), genes = rownames(counts), columns = c("donor", "type", "lane", "percent")),
    ignore_attr = TRUE)
  opened <- use_store(store, rlang::current_env())
  expect_equal(unname(as.matrix(reticulate::py_to_r(opened$data$X$to_memory()$toarray()))), unname(t(as.matrix(counts))))
  coldata <- store_coldata(opened$data, store, rlang::current_env())
  expect_equal(as.character(coldata$type), small_coldata()$type)
  expect_equal(levels(coldata$lane), c("1", "2", "3"))
  expect_equal(coldata$percent, small_coldata()$percent)

  fit <- run_scvi(store, batch = "donor", training = quick(), verbose = FALSE)
  expect_s3_class(fit, "latome_model")
  expect_equal(dim(fit$latent), c(60, 10))
  expect_equal(fit$genes, rownames(counts))
  expect_equal(rownames(fit$latent), colnames(counts))
  # asked about the store and about the matrix, a model answers the same
  expect_equal(latent_representation(store, model = fit), fit$latent, tolerance = 1e-5)
  expect_equal(latent_representation(counts, model = fit, coldata = small_coldata()), fit$latent, tolerance = 1e-5)
  some <- c(50, 3, 17)
  expect_equal(latent_representation(store$path, model = fit, cells = some), fit$latent[some, ], tolerance = 1e-5)
  found <- differential_expression(store, model = fit, group_by = "lane", ident_1 = "1")
  expect_setequal(found$gene, rownames(counts))
})

test_that("every container gives the same store", {
  skip_without_engine()
  skip_if_process()
  counts <- small_counts()
  counts_of <- function(store) {
    as.matrix(reticulate::py_to_r(use_store(store, rlang::current_env())$data$X$to_memory()$toarray()))
  }
  wanted <- unname(t(as.matrix(counts)))
  for (make in list(small_sce, small_seurat)) {
    store <- written_store(make())
    expect_equal(unname(counts_of(store)), wanted)
    expect_true(all(c("donor", "lane") %in% store$columns))
  }
  skip_if_not_installed("DelayedArray")
  withr::local_options(latome.block = 3 * 7)           # blocks of seven cells
  expect_no_message(store <- written_store(DelayedArray::DelayedArray(counts), coldata = small_coldata()))
  expect_equal(unname(counts_of(store)), wanted)
  expect_equal(store$cells, colnames(counts))
  expect_true("percent" %in% store$columns)
  bad <- counts
  bad[5, 60] <- 0.5
  folder <- withr::local_tempdir()
  expect_error(prepare_store(DelayedArray::DelayedArray(bad), file.path(folder, "store")), "not whole numbers",
    class = "latome_FieldError")
  expect_length(list.files(folder, all.files = TRUE, no.. = TRUE), 0)
})

test_that("an h5ad file becomes a store", {
  skip_without_engine()
  skip_if_process()
  folder <- withr::local_tempdir()
  file <- file.path(folder, "cells.h5ad")
  as_anndata(small_counts(), coldata = small_coldata())$write_h5ad(file)
  store <- prepare_store(file, file.path(folder, "store"))
  expect_equal(store$genes, rownames(small_counts()))
  fit <- run_scvi(open_store(store$path), batch = "donor", features = paste0("gene", 1:12), training = quick(1),
    verbose = FALSE)
  expect_equal(fit$genes, paste0("gene", 1:12))
  expect_error(prepare_store(file, file.path(folder, "other"), assay = "RNA"), "no meaning for a file")
  expect_error(prepare_store(file.path(folder, "none.h5ad"), file.path(folder, "other")), "There is no file",
    class = "latome_FieldError")
  expect_error(run_scvi(file, verbose = FALSE), "prepare_store", class = "latome_FieldError")
})

test_that("genes without a count are left out, with a message", {
  skip_without_engine()
  counts <- small_counts()
  counts[c(3, 7), ] <- 0
  store <- written_store(counts)
  expect_equal(store$silent, c("gene3", "gene7"))
  expect_message(fit <- run_scvi(store, training = quick(1)), "Leaves out 2 genes")
  expect_equal(fit$genes, setdiff(rownames(counts), store$silent))
})

test_that("what cannot be is said", {
  skip_without_engine()
  counts <- small_counts()
  folder <- withr::local_tempdir()
  path <- file.path(folder, "store")
  store <- prepare_store(counts, path, coldata = small_coldata())
  expect_error(prepare_store(counts, path), "already holds a store", class = "latome_ArchiveError")
  expect_no_error(prepare_store(counts, path, coldata = small_coldata(), overwrite = TRUE))
  expect_error(prepare_store(counts, folder), "something else", class = "latome_ArchiveError")
  expect_error(prepare_store(counts - 1, file.path(folder, "bad")), "negative", class = "latome_FieldError")
  expect_error(run_scvi(store, batch = "doner", verbose = FALSE), "Did you mean 'donor'", class = "latome_FieldError")
  expect_error(run_scvi(store, layer = "counts", verbose = FALSE), "no meaning for a store")
  expect_error(open_store(folder), "no store", class = "latome_ArchiveError")
  expect_output(print(store), "60 cells x 30 genes.*donor, type")
  writeBin(raw(3), file.path(path, "values"))
  expect_error(open_store(path), "3 bytes", class = "latome_ArchiveError")
  expect_error(run_scvi(store, verbose = FALSE), "3 bytes", class = "latome_ArchiveError")
})
