# Knit vignettes/<name>.Rmd.orig, which trains models on real data, into vignettes/<name>.Rmd, which only shows what came
# out: `make vignettes` (all of them) or `make vignettes NAME=annotation`.
#
# In the result code and output are plain text and figures are committed files, figures/<name>-<chunk>.png, so that
# R CMD build is quick and needs no Python. Every vignette is knitted in an R session of its own.

wanted <- commandArgs(trailingOnly = TRUE)
root <- normalizePath(".")
stopifnot("Run this in the root of the repository." = file.exists("DESCRIPTION"))
if (!nzchar(Sys.getenv("LATOME_DATA")) && dir.exists("../shared/data")) {
  Sys.setenv(LATOME_DATA = normalizePath("../shared/data"))
}

# --- text -----------------------------------------------------------------------------------------

# Paths of this machine say nothing to a reader.
without_paths <- function(lines) {
  places <- c(
    "<data>" = Sys.getenv("LATOME_DATA"), "<temporary>" = tempdir(), "<project>" = root, "~" = path.expand("~"),
    "<environment>" = dirname(dirname(Sys.getenv("RETICULATE_PYTHON")))
  )
  places <- places[nchar(places) > 1]
  for (i in order(-nchar(places))) lines <- gsub(places[[i]], names(places)[i], lines, fixed = TRUE)
  gsub("^(#>.*?) +$", "\\1", lines, perl = TRUE)
}

# What the numbers above were made with.
session_section <- function(seconds) {
  loaded <- loadedNamespaces()
  shown <- intersect(c("latome", "Seurat", "SeuratObject", "SingleCellExperiment", "scater", "HDF5Array", "ggplot2"), loaded)
  versions <- vapply(shown, function(package) as.character(utils::packageVersion(package)), "")
  engine <- if ("latome" %in% loaded) latome::latome_status()$versions[c("python", "torch")] else character()
  versions <- c(R = as.character(getRversion()), versions, engine)
  c(
    "", "## Session information", "",
    paste0(
      "The output above was made in ", max(1, round(seconds / 60)), " min on ", parallel::detectCores(),
      " CPU cores, with ", paste(names(versions), versions, collapse = ", "), "."
    )
  )
}

# --- figures --------------------------------------------------------------------------------------

# At most 256 colours: a PNG of a palette is three times smaller. The commonest colours stay as they are.
few_colours <- function(pixels, n = 256, exact = 96) {
  keys <- rgb(pixels[, , 1], pixels[, , 2], pixels[, , 3])
  counts <- sort(table(keys), decreasing = TRUE)
  if (length(counts) > n) {
    rest <- names(counts)[-seq_len(exact)]
    values <- t(col2rgb(rest))
    start <- values[unique(round(seq(1, nrow(values), length.out = n - exact))), ]
    found <- suppressWarnings(kmeans(values, start, iter.max = 30))
    replaced <- rgb(round(found$centers), maxColorValue = 255)[found$cluster]
    new <- stats::setNames(c(names(counts)[seq_len(exact)], replaced), names(counts))
    keys <- new[keys]
  }
  matrix(keys, dim(pixels)[1])
}

# R's cairo device writes a palette where it finds no more than 256 colours: draw the reduced pixels once more.
shrink_png <- function(file) {
  pixels <- png::readPNG(file)
  if (length(dim(pixels)) != 3) return(invisible())
  colours <- few_colours(pixels)
  grDevices::png(file, ncol(colours), nrow(colours), type = "cairo", antialias = "none")
  graphics::par(mar = c(0, 0, 0, 0), xaxs = "i", yaxs = "i")
  graphics::plot.new()
  graphics::rasterImage(colours, 0, 0, 1, 1, interpolate = FALSE)
  grDevices::dev.off()
}

# knitr numbers every figure of a chunk; a single one needs no number.
unnumbered <- function(lines, name) {
  files <- list.files("figures", paste0("^", name, "-.*-1\\.png$"), full.names = TRUE)
  for (file in files[!file.exists(sub("-1\\.png$", "-2.png", files))]) {
    new <- sub("-1\\.png$", ".png", file)
    file.rename(file, new)
    lines <- gsub(file, new, lines, fixed = TRUE)
  }
  lines
}

# --- one vignette ---------------------------------------------------------------------------------

knit_one <- function(name) {
  setwd("vignettes")
  unlink(list.files("figures", paste0("^", name, "-.*\\.png$"), full.names = TRUE))
  knitr::opts_knit$set(progress = FALSE)
  knitr::opts_chunk$set(
    collapse = TRUE, comment = "#>", error = FALSE, dpi = 96, dev = "png", dev.args = list(type = "cairo"),
    fig.width = 6.5, fig.height = 3.5, fig.path = paste0("figures/", name, "-"), fig.retina = NULL, cache = FALSE
  )
  options(width = 92, digits = 4, cli.num_colors = 1L, cli.dynamic = FALSE, crayon.enabled = FALSE, pillar.bold = FALSE)
  began <- proc.time()[["elapsed"]]
  output <- paste0(name, ".Rmd")
  draft <- tempfile(fileext = ".Rmd")
  knitr::knit(paste0(name, ".Rmd.orig"), draft, quiet = TRUE, envir = new.env(parent = globalenv()), encoding = "UTF-8")
  lines <- without_paths(readLines(draft, encoding = "UTF-8"))
  lines <- unnumbered(lines, name)
  writeLines(c(lines, session_section(proc.time()[["elapsed"]] - began)), output, useBytes = TRUE)
  figures <- list.files("figures", paste0("^", name, "-.*\\.png$"), full.names = TRUE)
  for (file in figures) shrink_png(file)
  report(output, lines, figures)
}

report <- function(output, lines, figures) {
  for (file in figures) message(sprintf("  %-45s %5.0f KB", file, file.size(file) / 1024))
  large <- figures[file.size(figures) > 60 * 1024]
  if (length(large)) message("  larger than 60 KB: ", paste(large, collapse = ", "))
  live <- grep("^```\\{r", lines)
  if (length(live)) stop(output, " still has a live chunk, line ", live[[1]], call. = FALSE)
  if (!any(grepl("VignetteIndexEntry", lines))) stop(output, " has no VignetteIndexEntry", call. = FALSE)
  message("wrote vignettes/", output)
}

# --- all of them ----------------------------------------------------------------------------------

known <- sub("\\.Rmd\\.orig$", "", list.files("vignettes", "\\.Rmd\\.orig$"))
unknown <- setdiff(wanted, known)
if (length(unknown)) {
  stop("No vignettes/", unknown[[1]], ".Rmd.orig. There are: ", paste(known, collapse = ", "), call. = FALSE)
}
if (length(wanted) == 1) {
  knit_one(wanted)
} else {
  rscript <- file.path(R.home("bin"), "Rscript")
  for (name in if (length(wanted)) wanted else known) {
    message(name)
    failed <- system2(rscript, c("--no-init-file", "tools/knit_vignettes.R", name))
    if (failed) stop("vignettes/", name, ".Rmd.orig did not knit", call. = FALSE)
  }
}
