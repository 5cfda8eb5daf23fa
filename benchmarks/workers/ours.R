# latome in R as a worker: one line of JSON in, one line of JSON out, until its input ends.
# What packages print goes to the standard error stream.

library(latome)
held <- new.env()

open_counts <- function(folder, batch) {
  about <- jsonlite::read_json(file.path(folder, "about.json"), simplifyVector = TRUE)
  vector <- function(name, what, n) readBin(file.path(folder, name), what, n, size = if (what == "integer") 4L else 8L)
  counts <- new("dgCMatrix", x = vector("x", "double", about$nnz), i = vector("i", "integer", about$nnz),
    p = vector("p", "integer", about$cells + 1L), Dim = c(about$genes, about$cells),
    Dimnames = list(paste0("gene_", seq_len(about$genes)), paste0("cell_", seq_len(about$cells))))
  held$object <- SingleCellExperiment::SingleCellExperiment(
    list(counts = counts), colData = S4Vectors::DataFrame(batch = factor(about$batch), row.names = colnames(counts)))
  list(
    versions = list(latome = as.character(utils::packageVersion("latome")), R = as.character(getRversion()),
      reticulate = as.character(utils::packageVersion("reticulate"))),
    blas = unname(extSoftVersion()["BLAS"]), lapack = La_library(), pid = Sys.getpid()
  )
}

# Seconds from an object to the same object with its latent and model, and of the training within.
whole <- function(seed, epochs, likelihood, batch_size, threads) {
  training <- training_options(max_epochs = epochs, batch_size = batch_size, early_stopping = FALSE,
    device = "cpu", threads = threads)
  seconds <- system.time(
    trained <- run_scvi(held$object, batch = "batch", features = "all", gene_likelihood = likelihood, seed = seed,
      training = training, keep_model = "object", verbose = FALSE)
  )[["elapsed"]]
  list(seconds = seconds, training = get_model(trained)$summary$seconds)
}

verbs <- list(open = open_counts, whole = whole)
requests <- file("stdin", "r")
answers <- stdout()
repeat {
  line <- readLines(requests, n = 1L)
  if (!length(line)) break
  request <- jsonlite::fromJSON(line)
  answer <- tryCatch(do.call(verbs[[request$verb]], request[names(request) != "verb"]),
    error = function(condition) list(error = paste(class(condition)[1], conditionMessage(condition))))
  writeLines(jsonlite::toJSON(answer, auto_unbox = TRUE, digits = NA), answers)
  flush(answers)
}
