# One HTML page about a model: what it was trained on, how, and whether to believe it.

#' A report of a model as an HTML page
#'
#' Writes one self-contained HTML page that says what a model was trained on, how the training went, what its latent
#' space looks like, how well its labels and its counts agree with the data, which tables of differential expression
#' the object keeps, and with which versions all this was made. What does not apply to a model is left out; what cannot
#' be computed is said.
#'
#' @details
#' The latent space is drawn as a UMAP where the packages `uwot` and `withr` are installed, else by its first two
#' principal components. Of more than `max_cells` cells a part is looked at that is spread evenly over the order of the
#' cells; checks of the counts take at most 500 of them.
#'
#' The packages `rmarkdown`, `knitr` and `ggplot2` are needed, and pandoc, which comes with RStudio and Quarto. The page
#' is made in the session's temporary folder and only then put where `file` says; nothing is opened. Call
#' `utils::browseURL(model_report(object))` to look at it.
#'
#' @param x a Seurat object or a SingleCellExperiment that carries a model or doublets of [run_solo()], a matrix of
#'   counts (with `model`), or a model alone: then what can be said without its data.
#' @param model a model, or the name of one that `x` carries (or of the results of [run_solo()]); `NULL` where there is
#'   only one.
#' @param file where to put the page; one that is there is replaced.
#' @param title title of the page; `NULL` for the name of the model.
#' @param ... not used; an argument that is not known is an error.
#' @param labels name of the column of the cell data to colour the cells by; by default the labels of the model, else
#'   the object's own groups.
#' @param max_cells at most so many cells are looked at.
#' @param seed a whole number; the same seed gives the same page.
#' @param assay,layer,coldata,allow_noninteger see [latent_representation()].
#' @param verbose say where the page is?
#' @return The path of the page, invisibly.
#' @seealso [plot_training()], [plot_latent_dimensions()], [plot_predictions()], [predictive_check()], [plot_volcano()]
#' @export
#' @examplesIf latome_available() && rlang::is_installed(c("ggplot2", "rmarkdown")) && rmarkdown::pandoc_available("2")
#' counts <- matrix(rpois(2000, 2), 40, 50, dimnames = list(paste0("g", 1:40), paste0("c", 1:50)))
#' fit <- run_scvi(counts, training = training_options(max_epochs = 3, threads = 2), verbose = FALSE)
#' page <- model_report(counts, fit, file = tempfile(fileext = ".html"))
model_report <- function(x, model = NULL, file = "model_report.html", title = NULL, ..., labels = NULL,
                         max_cells = 5000L, seed = 42L, assay = NULL, layer = NULL, coldata = NULL,
                         allow_noninteger = FALSE, verbose = TRUE) {
  check_no_dots(..., known = names(formals(model_report)))
  call <- rlang::current_env()
  title <- check_string(title, null = TRUE)
  max_cells <- check_whole_number(max_cells, ge = 10)
  seed <- check_seed(seed)
  labels <- check_names(labels, 1L)
  check_flag(verbose)
  file <- check_page(file, call)
  check_renderer(call)
  source <- counts_in(assay, layer, coldata, allow_noninteger)
  about <- report_subject(x, model, source, labels, max_cells, seed, call)
  render_report(list(title = title %||% about$title, sections = report_sections(about)), file)
  inform_latome(paste0("Report: ", file), verbose)
  invisible(file)
}

#' A path that a page can be written to.
#' @noRd
check_page <- function(file, call) {
  file <- path.expand(check_string(file, arg = "file", call = call))
  if (!grepl("\\.html?$", file, ignore.case = TRUE)) {
    abort_latome(paste0("`file` must end in .html; it is '", file, "'."), field = "file", call = call)
  }
  folder <- dirname(file)
  if (!dir.exists(folder) || file.access(folder, 2L) != 0L) {
    abort_latome(paste0("The report cannot be written to '", folder, "': ",
      if (dir.exists(folder)) "the folder is read-only." else "there is no such folder."),
      "Say where with `file`, such as file = tempfile(fileext = \".html\").", kind = "ArchiveError", field = "file",
      call = call)
  }
  file.path(normalizePath(folder), basename(file))
}

check_renderer <- function(call) {
  rlang::check_installed(c("rmarkdown", "knitr", "ggplot2"), "to make a report", call = call)
  if (!rmarkdown::pandoc_available("2.0")) {
    abort_latome("A report needs pandoc 2.0 or newer, and none is found.",
      c("RStudio and Quarto bring it; or install it from https://pandoc.org/installing.html.",
        "Elsewhere than on the PATH it is found by the environment variable RSTUDIO_PANDOC (its folder)."),
      kind = "EngineError", field = "pandoc", call = call)
  }
  if (isTRUE(getOption("knitr.in.progress"))) {
    abort_latome("A report is a document of its own and cannot be made while another is knitted.",
      "Call model_report() from a script or the console.", kind = "SettingError", call = call)
  }
}

#' What a report is about.
#'
#' @return list: title; fit (or NULL) and doublets (a list of latome_doublets by name); x; source; cells (positions,
#'   those looked at) of n_cells; asked (an opened query about them) with moments (of the latent), or else why_not
#'   (words); coldata; labels (name of a column); tables (of differential expression, by name); seed; call
#' @noRd
report_subject <- function(x, model, source, labels, max_cells, seed, call) {
  kept <- if (can_hold(x)) get_kept(x, call) else list()
  doublets <- report_doublets(x, model, kept)
  fit <- if (is.null(doublets)) the_model(x, model, call)
  about <- list(fit = fit, doublets = doublets, x = x, source = source, tables = kept$de, seed = seed, call = call)
  about$title <- paste("Report of", if (is.null(fit)) "Solo" else fit$title)
  about$coldata <- report_coldata(x, source)
  about$labels <- report_labels(labels, about, call)
  about$n_cells <- if (length(dim(x)) == 2L) ncol(x) else max(nrow(fit$posterior$mean), nrow(fit$latent), 0L)
  about$cells <- spread_out(about$n_cells, max_cells, seed)
  c(about, open_report(about))
}

#' The results of run_solo() that are asked for, or NULL where it is a model that is.
#' @noRd
report_doublets <- function(x, model, kept) {
  given <- Filter(function(it) inherits(it, "latome_doublets"), list(x, model))
  if (length(given)) {
    return(list(solo = given[[1]]))
  }
  named <- if (is_string(model) && !model %in% names(kept$models)) intersect(model, names(kept$doublets))
  if (is.null(model) && !length(kept$models)) named <- names(kept$doublets)
  if (length(named)) lapply(rlang::set_names(named), function(name) get_doublets(x, name))
}

#' The cell data, rows named by cell, or NULL.
#' @noRd
report_coldata <- function(x, source) {
  if (!is.null(source$coldata)) {
    return(as.data.frame(source$coldata))
  }
  if (can_hold(x)) as.data.frame(get_coldata(x))
}

#' The column that cells are coloured by, beside the batch: asked for, or that of the model where it is there.
#' @noRd
report_labels <- function(labels, about, call) {
  if (is.null(labels)) {
    return(intersect(about$fit$summary$columns$labels, names(about$coldata)))
  }
  find_column(about$coldata %||% no_given_labels(call), labels, "labels", call)
  labels
}

#' Ask about the cells once for all sections; where there is nothing to ask, say why.
#' @noRd
open_report <- function(about) {
  fit <- about$fit
  if (is.null(fit) || (inherits(about$x, "latome_model") && is.null(fit$posterior))) {
    return(list(why_not = if (!is.null(fit)) "The model was given without its data."))
  }
  model <- if (!inherits(about$x, "latome_model")) fit
  tryCatch({
    asked <- open_query(about$x, model, about$cells, about$source, about$call, latent = FALSE)
    list(asked = asked, moments = if (has_latent(fit$kind)) ask(asked, "latent_moments", list(), 0L, about$call))
  }, latome_error = function(e) {
    list(why_not = paste(c("The model cannot be asked about these data:", e$problem, e$hint), collapse = " "))
  })
}

#' Positions of at most m of n cells, evenly spread without a period that columns of the data could share.
#' @noRd
spread_out <- function(n, m, seed) {
  if (n <= m) {
    return(seq_len(n))
  }
  turn <- (seq_len(n) * 0.6180339887498949 + seed * 0.7548776662466927) %% 1     # the golden ratio: no period
  sort(order(turn)[seq_len(m)])
}

#' The page from its sections, made in the temporary folder.
#' @noRd
render_report <- function(report, file) {
  rlang::check_installed("rmarkdown")
  folder <- tempfile("latome-report-")
  dir.create(folder)
  on.exit(unlink(folder, recursive = TRUE), add = TRUE)
  file.copy(list.files(system.file("report", package = "latome"), full.names = TRUE), folder)
  title <- c("--metadata", paste0("title=", report$title), "--metadata", paste0("pagetitle=", report$title))
  page <- rmarkdown::render(
    file.path(folder, "report.Rmd"), output_file = "report.html", output_dir = folder, intermediates_dir = folder,
    knit_root_dir = folder, quiet = TRUE, envir = list2env(list(report = report), parent = globalenv()),
    output_format = rmarkdown::html_document(theme = NULL, highlight = NULL, mathjax = NULL, toc = TRUE, toc_depth = 2,
      self_contained = TRUE, css = file.path(folder, "report.css"), pandoc_args = title)
  )
  if (!file.copy(page, file, overwrite = TRUE)) {
    abort_latome(paste0("The report cannot be written to '", file, "'."), "Is the file open elsewhere?",
      kind = "ArchiveError", field = "file")
  }
}
