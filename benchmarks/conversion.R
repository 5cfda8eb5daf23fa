# What it costs to hand counts to the engine: seconds, and memory beyond the object.
#
#     Rscript benchmarks/conversion.R [cells genes nonzeros]        20000 2000 2000000 by default
#
# as_anndata() on a dgCMatrix, a SingleCellExperiment and a Seurat object, each made anew for each conversion, in a
# process that has converted something small before. Memory is read twice: what R allocated at its peak (gc) and the peak of the
# whole process (VmHWM of /proc/self/status, where there is one). A copy that is transposed needs the size of the
# vectors x, i and p once more, a dense one eight bytes an entry. Exit status 1 if either was made.

rounds <- 7L
kinds <- c("dgCMatrix", "SingleCellExperiment", "Seurat")
megabyte <- 2^20

make_object <- function(kind, cells, genes, nonzeros) {
  set.seed(1)
  each <- diff(round(seq(0, nonzeros, length.out = cells + 1L)))             # non-zeros of each cell
  i <- unlist(lapply(each, function(k) sort(sample.int(genes, k)) - 1L))
  counts <- methods::new("dgCMatrix", x = as.double(1 + stats::rgeom(length(i), 0.5)), i = i,
    p = as.integer(c(0, cumsum(each))), Dim = c(genes, cells),
    Dimnames = list(paste0("gene-", seq_len(genes)), paste0("cell-", seq_len(cells))))
  coldata <- data.frame(batch = factor(sample(c("a", "b"), cells, TRUE)), row.names = colnames(counts))
  switch(kind,
    dgCMatrix = counts,
    SingleCellExperiment = SingleCellExperiment::SingleCellExperiment(list(counts = counts),
      colData = S4Vectors::DataFrame(coldata)),
    Seurat = SeuratObject::CreateSeuratObject(counts, meta.data = coldata)
  )
}

vectors_of <- function(object) {
  if (methods::is(object, "SingleCellExperiment")) object <- SummarizedExperiment::assay(object, "counts")
  if (methods::is(object, "Seurat")) object <- SeuratObject::GetAssayData(object, slot = "counts")
  object
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

measure <- function(kind, cells, genes, nonzeros) {
  library(latome)
  small <- as_anndata(make_object(kind, 50L, 20L, 200L))
  seconds <- r_peak <- process_peak <- numeric(rounds)
  for (k in seq_len(rounds)) {
    object <- data <- NULL
    object <- make_object(kind, cells, genes, nonzeros)
    gc()                                                 # lets go of the Python object, Python then of R's vectors
    reticulate::import("gc")$collect()
    gc()
    before <- gc(reset = TRUE)
    forget_peak()
    resident <- status("VmRSS")
    seconds[k] <- system.time(data <- as_anndata(object))[["elapsed"]]
    process_peak[k] <- status("VmHWM") - resident
    r_peak[k] <- allocated(before, gc())
  }
  counts <- vectors_of(object)
  csr <- data$X
  list(
    kind = kind, seconds = seconds, r_peak = r_peak, process_peak = process_peak,
    vectors = 8 * length(counts@x) + 4 * length(counts@i) + 4 * length(counts@p), dense = 8 * cells * genes,
    same = identical(as.vector(csr$indices), counts@i) && identical(as.vector(csr$indptr), counts@p) &&
      identical(as.vector(csr$data), counts@x)
  )
}

report <- function(found, size) {
  middle <- function(x) stats::median(x, na.rm = TRUE)
  most <- function(x) if (all(is.na(x))) NA_real_ else max(x, na.rm = TRUE)
  rows <- vapply(found, function(f) {
    quartile <- stats::quantile(f$seconds, c(0.25, 0.75))
    sprintf("| %s | %.3f | %.3f to %.3f | %.1f | %.1f | %.2f | %s |", f$kind, middle(f$seconds), quartile[[1]],
      quartile[[2]], middle(f$r_peak) / megabyte, most(f$process_peak) / megabyte, middle(f$r_peak) / f$vectors,
      if (f$same) "yes" else "no")
  }, "")
  table <- c(
    "| object | seconds, median | quartiles | R's peak, MB, median | process's peak, MB, most | R's peak / vectors | same vectors |",
    "|---|---|---|---|---|---|---|", rows
  )
  note <- sprintf(paste0("%s cells x %s genes, %s non-zeros, %d conversions each. All memory is beyond the object. The ",
    "vectors x, i and p take %.1f MB: a transposed copy would need as much again, a dense one %.0f MB. \"Same ",
    "vectors\": the engine's CSR arrays equal R's CSC vectors, entry by entry, so nothing was reordered."),
    size[[1]], size[[2]], size[[3]], rounds, found[[1]]$vectors / megabyte, found[[1]]$dense / megabyte)
  c("# Handing counts from R to the engine", "", table, "", note)
}

arguments <- commandArgs(TRUE)
script <- sub("^--file=", "", grep("^--file=", commandArgs(), value = TRUE))
if (length(arguments) && arguments[[1]] %in% kinds) {                         # a child: one kind, JSON out
  size <- as.integer(arguments[2:4])
  cat(jsonlite::toJSON(measure(arguments[[1]], size[[1]], size[[2]], size[[3]]), auto_unbox = TRUE, digits = NA))
} else {
  size <- if (length(arguments)) as.integer(arguments) else c(20000L, 2000L, 2000000L)
  run <- function(kind) {
    out <- system2(file.path(R.home("bin"), "Rscript"), c("--no-init-file", shQuote(script), kind, size), stdout = TRUE)
    if (!is.null(attr(out, "status"))) stop("The conversion of a ", kind, " failed.", call. = FALSE)
    jsonlite::fromJSON(out[[length(out)]])
  }
  found <- lapply(kinds, run)
  text <- report(found, size)
  results <- file.path(dirname(script), "results")
  dir.create(results, showWarnings = FALSE)
  writeLines(text, file.path(results, "conversion.md"))
  jsonlite::write_json(found, file.path(results, "conversion.json"), auto_unbox = TRUE, digits = 6)
  cat(text, sep = "\n")
  # one copy of the vectors is R's own, made when a slot is handed over; names take some more; a second copy is
  # one too many, whether R made it or Python did
  one_copy <- function(f) {
    stats::median(f$r_peak) < 1.8 * f$vectors && !isTRUE(max(f$process_peak) > 1.8 * f$vectors)
  }
  fine <- vapply(found, function(f) f$same && one_copy(f), NA)
  quit(status = as.integer(!all(fine)))
}
