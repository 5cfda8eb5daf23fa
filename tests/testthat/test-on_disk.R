# Each kind of matrix on disk or in blocks that this machine can make, all of the same counts.
kept_on_disk <- function(kind, counts, folder) {
  file <- tempfile(tmpdir = folder)
  switch(kind,
    delayed = DelayedArray::DelayedArray(counts),
    scaled = DelayedArray::DelayedArray(counts * 2) / 2,
    dense = HDF5Array::writeHDF5Array(as.matrix(counts), file, "counts", chunkdim = c(10L, 7L), with.dimnames = TRUE),
    sparse = HDF5Array::writeHDF5Array(counts, file, "counts", with.dimnames = TRUE),
    tenx = HDF5Array::writeTENxMatrix(counts, file, "counts"),
    h5ad = {
      suppressWarnings(as_anndata(counts)$write_h5ad(file))
      HDF5Array::H5ADMatrix(file)
    },
    blocks = latome_blocks(list(counts[, 40:1], counts[30:1, 41:60]), colnames(counts), rownames(counts)),
    `blocks on disk` = latome_blocks(
      list(counts[, 1:25], DelayedArray::DelayedArray(counts[, 26:60])), colnames(counts), rownames(counts)
    )
  )
}

kinds <- c("delayed", "scaled", "dense", "sparse", "tenx", "h5ad", "blocks", "blocks on disk")
made_on_disk <- function(kind, folder = withr::local_tempdir(.local_envir = env), env = parent.frame()) {
  skip_if_not_installed("DelayedArray")
  if (kind %in% c("dense", "sparse", "tenx", "h5ad")) skip_if_not_installed("HDF5Array")
  if (kind == "h5ad") {
    skip_without_engine()
    skip_if_process()
  }
  tryCatch(suppressWarnings(suppressMessages(kept_on_disk(kind, small_counts(), folder))), error = function(e) {
    # HDF5Array 1.26 with rhdf5 2.42 cannot open groups of HDF5 files
    if (grepl("H5IdComponent", conditionMessage(e))) skip(paste("HDF5Array cannot make this here:", kind))
    stop(e)
  })
}

for (kind in kinds) {
  test_that(paste("counts on disk or in blocks are the counts:", kind), {
    counts <- small_counts()
    held <- made_on_disk(kind)
    expect_equal(dim(held), dim(counts))
    expect_equal(dimnames(held), dimnames(counts))
    read <- suppressMessages(as_counts(held, "the counts", NULL))
    expect_s4_class(read, "dgCMatrix")
    expect_equal(as.matrix(read), as.matrix(counts))
    genes <- c("gene9", "gene2", "gene30")
    cells <- c(50L, 2L, 41L, 1L)
    part <- suppressMessages(as_counts(held[genes, cells, drop = FALSE], "the counts", NULL))
    expect_equal(as.matrix(part), as.matrix(counts[genes, cells]))
  })

  test_that(paste("a model trains on them, and answers as of the counts:", kind), {
    skip_without_engine()
    held <- made_on_disk(kind)
    withr::local_options(latome.in_memory = 0, latome.block = 3 * 7)
    withr::defer(forget_streams())
    cells <- list(counts = held, coldata = small_coldata(), where = "the counts", other_layers = character(),
      features = NULL)
    local_replaced(get_cells = function(...) cells)
    fit <- suppressMessages(run_scvi(small_counts(), batch = "donor", training = quick(1), verbose = FALSE))
    found <- suppressMessages(latent_representation(small_counts(), fit))
    cells$counts <- small_counts()
    expect_equal(latent_representation(small_counts(), fit), found, tolerance = 1e-6)
    expect_equal(fit$latent, found, tolerance = 1e-5, ignore_attr = TRUE)
  })

  test_that(paste("a store holds them:", kind), {
    skip_without_engine()
    skip_if_process()
    held <- made_on_disk(kind)
    withr::local_options(latome.block = if (kind %in% c("scaled", "dense")) 30 * 7 else 3 * 7)
    cells <- list(counts = held, coldata = NULL, where = "the counts", other_layers = character())
    folder <- withr::local_tempdir()
    store_blocks(cells, file.path(folder, "store"), FALSE, FALSE, rlang::current_env())
    found <- use_store(open_store(file.path(folder, "store")), rlang::current_env())$data
    expect_equal(unname(as.matrix(reticulate::py_to_r(found$X$to_memory()$toarray()))),
      unname(t(as.matrix(small_counts()))))
  })
}

test_that("a group of sparse vectors in a file is read, whichever way it lies", {
  skip_without_engine()
  skip_if_process()
  skip_if_not_installed("HDF5Array")
  file <- withr::local_tempfile(fileext = ".h5ad")
  counts <- small_counts()
  data <- as_anndata(counts)
  for (lies in c("tocsr", "tocsc")) {
    data$X <- data$X[[lies]]()
    data$write_h5ad(file)
    held <- tryCatch(suppressMessages(HDF5Array::H5SparseMatrix(file, "X")),
      error = function(e) skip(conditionMessage(e)))
    if (nrow(held) == ncol(counts)) held <- BiocGenerics::t(held)
    dimnames(held) <- dimnames(counts)
    expect_equal(as.matrix(as_dgCMatrix(held, "x", NULL)), as.matrix(counts))
    expect_equal(as.matrix(as_dgCMatrix(HDF5Array::H5ADMatrix(file)[, 5:9], "x", NULL)), as.matrix(counts[, 5:9]))
  }
})

test_that("blocks have their own genes and cells, in any order", {
  counts <- small_counts()
  first <- counts[c(3, 1, 2, 8), c(5, 1, 3)]
  second <- counts[c(2, 9), c(4, 2)]
  blocks <- latome_blocks(list(a = first, b = second), paste0("cell", 1:5))
  expect_equal(rownames(blocks), c("gene3", "gene1", "gene2", "gene8", "gene9"))
  expect_equal(colnames(blocks), paste0("cell", 1:5))
  wanted <- matrix(0, 5, 5, dimnames = dimnames(blocks))
  wanted[rownames(first), colnames(first)] <- as.matrix(first)
  wanted[rownames(second), colnames(second)] <- as.matrix(second)
  expect_equal(as.matrix(as_counts(blocks, "x", NULL)), wanted)
  expect_equal(as.matrix(as_counts(blocks[, 4, drop = FALSE], "x", NULL)), wanted[, 4, drop = FALSE])
  expect_equal(as.matrix(as_counts(blocks[c("gene9", "gene3"), -1], "x", NULL)), wanted[c(5, 1), -1])
  expect_equal(as.matrix(as_counts(blocks[c(TRUE, FALSE, TRUE, FALSE, FALSE), ], "x", NULL)), wanted[c(1, 3), ])
  rownames(blocks) <- letters[1:5]
  expect_equal(as.matrix(as_counts(blocks["e", ], "x", NULL)),
    matrix(wanted[5, ], 1, dimnames = list("e", colnames(blocks))))
})

test_that("what is small is read, what is large stays", {
  skip_if_not_installed("DelayedArray")
  counts <- small_counts()
  delayed <- DelayedArray::DelayedArray(counts)
  bytes <- VALUE * length(counts@x)
  expect_false(is_too_large(counts, "x", NULL))
  for (held in list(delayed, latome_blocks(list(counts[, 1:30], delayed[, 31:60]), colnames(counts)))) {
    withr::local_options(latome.in_memory = bytes + 1)
    expect_false(is_too_large(held, "x", NULL))
    withr::local_options(latome.in_memory = bytes - 1)
    expect_true(is_too_large(held, "x", NULL))
  }
  # blocks in memory are no larger for being told to stay: only what no dgCMatrix holds is
  expect_false(is_too_large(latome_blocks(list(counts), colnames(counts)), "x", NULL))
})

test_that("blocks with more values than a dgCMatrix holds are not bound", {
  blocks <- latome_blocks(list(small_counts()), paste0("cell", 1:60))
  local_replaced(values_in = function(...) 2^31)
  expect_error(as_counts(blocks, "layer 'counts'", NULL), "Layer 'counts' holds more values.*prepare_store",
    class = "latome_FieldError")
})

test_that("the number of values is told from some of the cells", {
  skip_if_not_installed("DelayedArray")
  counts <- small_counts(20, 900)
  counts[, 1:300] <- 0
  counts <- Matrix::drop0(counts)
  found <- values_in(DelayedArray::DelayedArray(counts), "x", NULL, cells = 100L)
  expect_equal(found, length(counts@x), tolerance = 0.3)
  expect_equal(values_in(counts, "x", NULL), length(counts@x))
})

test_that("whole chunks of a file are read at a time", {
  skip_if_not_installed("HDF5Array")
  counts <- as.matrix(small_counts())
  in_chunks <- function(of) HDF5Array::writeHDF5Array(counts, tempfile(), "counts", chunkdim = c(10L, of))
  withr::local_options(latome.block = 30 * 20)
  expect_equal(cells_at_a_time(in_chunks(7L)), 14)
  expect_equal(cells_at_a_time(in_chunks(60L)), 20)
  expect_equal(cells_at_a_time(HDF5Array::writeHDF5Array(small_counts(), tempfile(), "counts")), 180)
  withr::local_options(latome.block = 1)
  expect_equal(cells_at_a_time(in_chunks(7L)), 1)
})
