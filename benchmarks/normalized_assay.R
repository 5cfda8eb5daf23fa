# What it costs to write normalized expression into a Seurat object: seconds, and memory beyond the assay itself.
#
#     Rscript benchmarks/normalized_assay.R [cells genes]                    10000 2000 by default
#
# add_normalized_expression() on an object whose model was trained for one epoch. Memory is read twice: what R
# allocated at its peak (gc) and the peak of the whole process (VmHWM of /proc/self/status, where there is one), both
# beyond what was there before, in assays: eight bytes for each gene and cell. One assay must be there in the end;
# a second dense copy would make it two. Exit status 1 if there was one.

rounds <- 5L
megabyte <- 2^20

make_object <- function(cells, genes) {
  set.seed(1)
  share <- rgamma(genes, 0.3)
  counts <- Matrix::rsparsematrix(genes, cells, density = 0.05, rand.x = function(n) 1 + rgeom(n, 0.4))
  counts@x <- as.double(counts@x)
  counts <- counts + Matrix::sparseMatrix(i = sample.int(genes, cells, TRUE, share), j = seq_len(cells), x = 1, dims = c(genes, cells))
  dimnames(counts) <- list(paste0("gene-", seq_len(genes)), paste0("cell-", seq_len(cells)))
  SeuratObject::CreateSeuratObject(counts)
}

status <- function(field) {
  if (!file.exists("/proc/self/status")) return(NA_real_)
  line <- grep(paste0("^", field, ":"), readLines("/proc/self/status"), value = TRUE)
  as.numeric(gsub("[^0-9]", "", line)) * 1024
}

forget_peak <- function() try(cat("5", file = "/proc/self/clear_refs"), silent = TRUE)

# R's peak since `before` <- gc(reset = TRUE), in bytes
allocated <- function(before, after) {
  sum((after[, "max used"] - before[, "used"]) * c(if (.Machine$sizeof.pointer == 8L) 56 else 28, 8))
}

measure <- function(cells, genes) {
  library(latome)
  object <- run_scvi(make_object(cells, genes), features = "all", verbose = FALSE,
    training = training_options(max_epochs = 1, early_stopping = FALSE))
  small <- add_normalized_expression(object, rownames(object)[1:2], verbose = FALSE)
  rm(small)
  assay <- 8 * as.double(cells) * genes
  rows <- lapply(seq_len(rounds), function(round) {
    reticulate::import("gc")$collect()
    before <- gc(reset = TRUE)
    forget_peak()
    resident <- status("VmRSS")
    seconds <- system.time(with <- add_normalized_expression(object, verbose = FALSE))[["elapsed"]]
    peak <- status("VmHWM") - resident
    after <- gc()
    held <- SeuratObject::GetAssayData(with, assay = "scvi_expression")
    stopifnot(identical(dim(held), as.integer(c(genes, cells))), abs(colSums(held[, 1:5]) - 1) < 1e-4)
    data.frame(seconds, r_peak = allocated(before, after), process_peak = peak)
  })
  list(rows = do.call(rbind, rows), assay = assay)
}

report <- function(found, cells, genes) {
  middle <- vapply(found$rows, stats::median, 0)
  cat(sprintf("%s genes x %s cells, R %s, Seurat object %s, reticulate %s\n", format(genes, big.mark = ","),
    format(cells, big.mark = ","), getRversion(), utils::packageVersion("SeuratObject"),
    utils::packageVersion("reticulate")))
  cat(sprintf("the assay itself         %6.0f MB\n", found$assay / megabyte))
  cat(sprintf("peak that R allocated    %6.0f MB = %.2f assays\n", middle[["r_peak"]] / megabyte, middle[["r_peak"]] / found$assay))
  cat(sprintf("peak of the process      %6.0f MB = %.2f assays\n", middle[["process_peak"]] / megabyte,
    middle[["process_peak"]] / found$assay))
  cat(sprintf("time                     %6.2f s (median of %d)\n", middle[["seconds"]], rounds))
}

arguments <- as.numeric(commandArgs(trailingOnly = TRUE))
cells <- if (length(arguments) > 0L) arguments[[1]] else 10000
genes <- if (length(arguments) > 1L) arguments[[2]] else 2000
found <- measure(cells, genes)
report(found, cells, genes)
peaks <- c(found$rows$r_peak, found$rows$process_peak)
if (any(peaks > 1.9 * found$assay, na.rm = TRUE)) {
  cat("A second dense copy was made.\n")
  quit(status = 1)
}
cat("No second dense copy was made.\n")
