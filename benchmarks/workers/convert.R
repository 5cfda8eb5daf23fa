# Seconds of handing a Seurat object's counts to Python: latome's as_anndata(), and the expression that transposes.
# One line of JSON in, one line of JSON out, until its input ends.

library(latome)
held <- new.env()

make <- function(cells, genes, nonzeros) {
  set.seed(1)
  each <- diff(round(seq(0, nonzeros, length.out = cells + 1L)))             # non-zeros of each cell
  i <- unlist(lapply(each, function(k) sort(sample.int(genes, k)) - 1L))
  counts <- methods::new("dgCMatrix", x = as.double(1 + stats::rgeom(length(i), 0.5)), i = i,
    p = as.integer(c(0, cumsum(each))), Dim = c(genes, cells),
    Dimnames = list(paste0("gene-", seq_len(genes)), paste0("cell-", seq_len(cells))))
  held$object <- SeuratObject::CreateSeuratObject(counts)
  as_anndata(held$object[, seq_len(50)])                                     # starts Python
  held$anndata <- reticulate::import("anndata", convert = FALSE)
  list(versions = list(latome = as.character(utils::packageVersion("latome")), R = as.character(getRversion()),
    SeuratObject = as.character(utils::packageVersion("SeuratObject")),
    reticulate = as.character(utils::packageVersion("reticulate"))))
}

timed <- function(expression) {
  gc()
  list(seconds = system.time(expression)[["elapsed"]])
}

swap <- function() timed(as_anndata(held$object))

transpose <- function() {
  timed(held$anndata$AnnData(
    X = Matrix::t(SeuratObject::GetAssayData(held$object, slot = "counts")), obs = held$object[[]]
  ))
}

verbs <- list(make = make, swap = swap, transpose = transpose)
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
