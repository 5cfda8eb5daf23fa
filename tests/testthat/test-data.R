no_folder <- function(folder = "", .env = parent.frame()) {
  cache <- withr::local_tempdir(.local_envir = .env)
  withr::local_envvar(LATOME_DATA = folder, R_USER_CACHE_DIR = cache, .local_envir = .env)
}

real_folder <- function() {
  skip_if_not(nzchar(Sys.getenv("LATOME_DATA")), "LATOME_DATA is not set")
  skip_without_engine()
}

# A file with all that an .h5ad may hold; its counts are those of small_counts().
write_cells <- function(folder, name = "pbmc3k") {
  skip_if_process()
  data <- as_anndata(small_counts(), coldata = small_coldata())
  pandas <- reticulate::import("pandas", convert = FALSE)
  positions <- reticulate::r_to_py(matrix(seq_len(120), 60))
  reticulate::py_set_item(data$obsm, "spatial", positions)
  frame <- function(...) pandas$DataFrame(data = list(...), index = data$obs_names)
  reticulate::py_set_item(data$obsm, "protein_counts", frame(CD_3 = seq_len(60), CD4 = rep(0:1, 30)))
  reticulate::py_set_item(data$obsm, "shares", frame(a = rep(c(0.25, 1), 30), b = rep(c(0.75, 0), 30)))
  reticulate::py_set_item(data$var, "symbol", reticulate::r_to_py(paste0("s_", 1:30)))
  reticulate::py_set_item(data$varm, "markers", reticulate::r_to_py(diag(30)))
  data$write_h5ad(file.path(folder, paste0(name, ".h5ad")))
}

test_that("without a name it lists what there is, and where from", {
  no_folder()
  listed <- latome_data()
  expect_s3_class(listed, "data.frame")
  expect_identical(anyDuplicated(listed$name), 0L)
  expect_named(listed, c("name", "cells", "genes", "good_for", "source", "licence", "place"))
  expect_identical(listed$name[listed$place %in% "download"], c("kang_ifnb", "kang_doublets"))
  expect_true(all(is.na(listed$place) | listed$place == "download"))
  expect_error(latome_data("kang"), "Did you mean 'kang_ifnb'")
  expect_error(latome_data("pbmc3k", as = "list"), "`as` must be one of")
})

test_that("nothing is downloaded unasked", {
  no_folder()
  local_replaced(download_checked = function(...) stop("a download"))
  expect_error(latome_data("kang_ifnb"), "download = TRUE", class = "latome_FieldError")
  expect_error(latome_data("kang_ifnb", download = FALSE), "download = TRUE", class = "latome_FieldError")
  expect_error(latome_data("pbmc3k", download = TRUE), "not offered for download", class = "latome_FieldError")
  no_folder("/no/such/folder")
  expect_error(latome_data("pbmc3k"), "'/no/such/folder', which holds no file")
})

test_that("a file of the folder comes as a SingleCellExperiment, slot for slot", {
  skip_without_engine()
  skip_if_not_installed("SingleCellExperiment")
  folder <- withr::local_tempdir()
  no_folder(folder)
  write_cells(folder)
  expect_identical(latome_data("pbmc3k", as = "path"), normalizePath(file.path(folder, "pbmc3k.h5ad")))
  sce <- latome_data("pbmc3k")
  expect_identical(SingleCellExperiment::counts(sce), small_counts())
  coldata <- small_coldata()
  expect_identical(as.character(sce$type), coldata$type)
  expect_identical(levels(sce$lane), c("1", "2", "3"))
  expect_identical(sce$percent, coldata$percent)
  expect_identical(sce$shares.a, rep(c(0.25, 1), 30))
  expect_identical(unname(SingleCellExperiment::reducedDim(sce, "spatial")), matrix(as.double(1:120), 60))
  expect_identical(rownames(SingleCellExperiment::altExp(sce, "ADT")), c("CD_3", "CD4"))
  proteins <- SingleCellExperiment::counts(SingleCellExperiment::altExp(sce))
  expect_identical(unname(proteins[1, ]), as.double(1:60))
  expect_identical(as.character(SummarizedExperiment::rowData(sce)$symbol), paste0("s_", 1:30))
  expect_identical(unname(SummarizedExperiment::rowData(sce)$markers), diag(30))
})

test_that("and as a Seurat object", {
  skip_without_engine()
  skip_if_not_installed("SeuratObject")
  folder <- withr::local_tempdir()
  no_folder(folder)
  write_cells(folder)
  expect_no_warning(seu <- latome_data("pbmc3k", as = "seurat"))
  expect_equal(get_cells(seu)$counts, small_counts())
  expect_identical(as.character(seu$lane), as.character(small_coldata()$lane))
  expect_identical(unname(seu$shares.b), rep(c(0.75, 0), 30))
  expect_identical(rownames(seu[["ADT"]]), c("CD-3", "CD4"))
  expect_identical(unname(SeuratObject::Embeddings(seu, "spatial")), matrix(as.double(1:120), 60))
  expect_identical(as.character(seu[["RNA"]][["symbol"]][["symbol"]]), paste0("s_", 1:30))
  expect_identical(unname(SeuratObject::Misc(seu, "markers")), diag(30))
})

# An archive as the public one is, at an address of this machine.
local_archive <- function(folder, name = "kang_ifnb", .env = parent.frame()) {
  skip_if(!nzchar(Sys.which("zip")), "no zip")
  skip_if_process()
  for (part in c("ctrl", "stim")) {
    barcodes <- vapply(1:4, function(i) paste(rep(c("A", "C", "G", "T")[i], 12), collapse = ""), "")
    counts <- small_counts(n_cells = 4, seed = if (part == "ctrl") 1 else 2)
    colnames(counts) <- paste0(barcodes, ".1")
    as_anndata(counts)$write_h5ad(file.path(folder, paste0(part, ".h5ad")))
  }
  archive <- file.path(folder, "archive.zip")
  utils::zip(archive, file.path(folder, c("ctrl.h5ad", "stim.h5ad")), flags = "-jq")
  recipe <- list(
    url = paste0("file://", archive), megabytes = 1, sha256 = request("file_checksum", archive)$sha256,
    members = list(ctrl = "ctrl.h5ad", stim = "stim.h5ad"), column = "stim", least_cells = 0L
  )
  local_replaced(data_recipe = function(name) recipe, .env = .env)
  recipe
}

test_that("a download is made into a file of the cache, once", {
  skip_without_engine()
  skip_on_os("windows")
  no_folder()
  recipe <- local_archive(withr::local_tempdir())
  sce <- latome_data("kang_ifnb", download = TRUE, verbose = FALSE)
  expect_identical(dim(sce), c(30L, 8L))
  expect_identical(as.character(sce$stim), rep(c("ctrl", "stim"), each = 4))
  expect_identical(colnames(sce)[5], "stim_AAAAAAAAAAAA-1")
  first <- as.matrix(SingleCellExperiment::counts(sce)[, 1:4])
  expect_equal(first, as.matrix(small_counts(n_cells = 4)), ignore_attr = TRUE)
  expect_identical(list.files(data_cache()), "kang_ifnb.h5ad")
  expect_identical(subset(latome_data(), name == "kang_ifnb")$place, "cache")
  local_replaced(download_checked = function(...) stop("a second download"))
  expect_identical(latome_data("kang_ifnb"), sce)
})

test_that("what did not come, or not whole, is not kept", {
  skip_without_engine()
  skip_on_os("windows")
  no_folder()
  recipe <- local_archive(withr::local_tempdir())
  local_replaced(data_recipe = function(name) replace(recipe, "sha256", "0123456789abcdef"))
  expect_error(latome_data("kang_ifnb", download = TRUE, verbose = FALSE), "not the file that was expected")
  expect_identical(list.files(data_cache()), character())
  local_replaced(data_recipe = function(name) replace(recipe, "url", "file:///no/such/archive.zip"))
  expect_error(latome_data("kang_ifnb", download = TRUE, verbose = FALSE), "failed", class = "latome_FieldError")
  expect_identical(list.files(data_cache()), character())
})

test_that("real files have the cells and genes that the list says", {
  real_folder()
  skip_if_not_installed("SingleCellExperiment")
  listed <- latome_data()
  expect_true(all(listed$place == "folder"))
  for (name in c("pancreas_panc8_500x2000", "cite_wnn_3donors_224adt", "visium_lymph_node_1000spots")) {
    sce <- latome_data(name)
    expect_identical(dim(sce), unlist(listed[listed$name == name, c("genes", "cells")], use.names = FALSE))
    values <- SingleCellExperiment::counts(sce)@x
    expect_true(all(values == floor(values) & values > 0))
  }
  expect_identical(nlevels(latome_data("pancreas_panc8_500x2000")$cell_type), 6L)
  expect_identical(dim(SingleCellExperiment::altExp(latome_data("cite_wnn_3donors_224adt"))), c(224L, 1200L))
})

test_that("what the public address gives has the counts of the real file", {
  real_folder()
  skip_if_not(nzchar(Sys.getenv("LATOME_TEST_DOWNLOAD")), "LATOME_TEST_DOWNLOAD is not set")
  wanted <- lapply(c("kang_ifnb", "kang_doublets"), latome_data)
  no_folder()
  for (held in wanted) {
    name <- if (ncol(held) > 6000) "kang_ifnb" else "kang_doublets"
    made <- latome_data(name, download = TRUE, verbose = FALSE)
    expect_identical(SingleCellExperiment::counts(made), SingleCellExperiment::counts(held))
    expect_identical(as.character(made$stim), as.character(held$stim))
  }
})
