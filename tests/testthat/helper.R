# Where the engine must be there (continuous integration), its absence is a failure, not a skip.
skip_without_engine <- function() {
  if (latome_available()) {
    return(invisible())
  }
  if (nzchar(Sys.getenv("LATOME_TEST_REQUIRE_ENGINE"))) {
    testthat::fail("The engine is required here and cannot start.")
  }
  testthat::skip("no Python with the engine's packages")
}

# Two kinds of cells in two batches: genes x cells, with names.
small_counts <- function(n_genes = 30, n_cells = 60, seed = 1) {
  withr::with_seed(seed, {
    kind <- rep(1:2, length.out = n_cells)
    rate <- matrix(rgamma(2 * n_genes, 4) + 3, n_genes)[, kind]
    counts <- matrix(as.double(rpois(n_genes * n_cells, rate)), n_genes)
  })
  dimnames(counts) <- list(paste0("gene", seq_len(n_genes)), paste0("cell", seq_len(n_cells)))
  methods::as(counts, "CsparseMatrix")
}

small_coldata <- function(n_cells = 60) {
  data.frame(
    row.names = paste0("cell", seq_len(n_cells)),
    donor = rep(c("a", "b"), each = n_cells / 2),
    type = rep(c("x", NA, "y"), length.out = n_cells),
    lane = factor(rep(1:3, length.out = n_cells), levels = 1:5),
    percent = seq(0, 1, length.out = n_cells)
  )
}

small_sce <- function(...) {
  testthat::skip_if_not_installed("SingleCellExperiment")
  counts <- small_counts(...)
  SingleCellExperiment::SingleCellExperiment(list(counts = counts),
    colData = S4Vectors::DataFrame(small_coldata(ncol(counts))))
}

small_seurat <- function(...) {
  testthat::skip_if_not_installed("SeuratObject")
  counts <- small_counts(...)
  suppressWarnings(SeuratObject::CreateSeuratObject(counts, meta.data = small_coldata(ncol(counts))))
}

quick <- function(max_epochs = 3, ...) training_options(max_epochs = max_epochs, threads = 1, ...)

# One trained model for all tests that only look at one.
made <- new.env()
trained <- function() {
  skip_without_engine()
  if (is.null(made$fit)) {
    made$fit <- run_scvi(small_counts(), batch = "donor", coldata = small_coldata(), training = quick(), verbose = FALSE)
  }
  made$fit
}

# Put other functions or values into the package until the calling test ends.
local_replaced <- function(..., .env = parent.frame()) {
  namespace <- asNamespace("latome")
  new <- list(...)
  put <- function(values) {
    for (name in names(values)) {
      unlockBinding(name, namespace)
      assign(name, values[[name]], envir = namespace)
      lockBinding(name, namespace)
    }
  }
  old <- mget(names(new), envir = namespace)
  put(new)
  withr::defer(put(old), envir = .env)
}

# A fresh R process with the same libraries; its standard output and error as lines.
fresh_r <- function(code) {
  script <- fresh_script(code)
  output <- tempfile()
  system2(file.path(R.home("bin"), "Rscript"), shQuote(script), stdout = output, stderr = output)
  readLines(output, warn = FALSE)
}

fresh_script <- function(code) {
  script <- tempfile(fileext = ".R")
  loaded <- "library(latome)"
  if (is_developed()) loaded <- paste0("pkgload::load_all(", deparse(find.package("latome")), ", compile = FALSE)")
  writeLines(c(paste0(".libPaths(", paste(deparse(.libPaths()), collapse = ""), ")"), loaded, code), script)
  script
}

is_developed <- function() "pkgload" %in% loadedNamespaces() && pkgload::is_dev_package("latome")

wait_for <- function(condition, seconds = 90) {
  end <- Sys.time() + seconds
  while (!condition() && Sys.time() < end) Sys.sleep(0.2)
  testthat::expect_true(condition())
}

# Cells of three types, each with four genes of its own, and a label for two of three cells: genes x cells.
typed <- function(n_cells = 90, n_genes = 40, fold = 8) {
  types <- rep(c("B", "Mono", "T"), length.out = n_cells)
  counts <- withr::with_seed(3, {
    base <- matrix(rgamma(n_genes, 3) + 1, n_genes, n_cells)
    for (type in 1:3) base[4 * type - 3:0, types == c("B", "Mono", "T")[type]] <- fold * 3
    matrix(as.double(rpois(length(base), base)), n_genes)
  })
  dimnames(counts) <- list(paste0("gene", seq_len(n_genes)), paste0("cell", seq_len(n_cells)))
  known <- rep(c(TRUE, TRUE, FALSE, TRUE, FALSE), length.out = n_cells)
  list(
    counts = methods::as(counts, "CsparseMatrix"), type = types,
    coldata = data.frame(
      row.names = colnames(counts), donor = rep(c("a", "b"), each = n_cells / 2), truth = types,
      some = factor(ifelse(known, types, NA), c("T", "never", "Mono", "B")),
      named = ifelse(known, types, "Unknown")
    ),
    markers = list(B = paste0("gene", 1:4), Mono = paste0("gene", 5:8), T = paste0("gene", 9:12))
  )
}

typed_seurat <- function(...) {
  testthat::skip_if_not_installed("SeuratObject")
  cells <- typed(...)
  suppressWarnings(SeuratObject::CreateSeuratObject(cells$counts, meta.data = cells$coldata))
}

typed_sce <- function(...) {
  testthat::skip_if_not_installed("SingleCellExperiment")
  cells <- typed(...)
  SingleCellExperiment::SingleCellExperiment(list(counts = cells$counts), colData = S4Vectors::DataFrame(cells$coldata))
}

# One scANVI of them.
labelled <- function() {
  skip_without_engine()
  if (is.null(made$labelled)) {
    cells <- typed()
    made$labelled <- run_scanvi(cells$counts, "some", batch = "donor", coldata = cells$coldata,
      training = quick(40, lr = 0.01), verbose = FALSE)
  }
  made$labelled
}
