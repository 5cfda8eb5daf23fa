#' Differential expression by a model
#'
#' Which genes differ between two sets of cells, judged by what the model thinks
#' the cells express rather than by the counts. Random cells of both sets are
#' decoded and paired; `prob_de` is the share of pairs in which the gene is higher
#' in the first (or lower: the likelier of the two) by at least `delta` on the
#' log2 scale.
#'
#' @section What the probabilities mean:
#' `prob_de` is a posterior probability, not a p-value, and so is what
#' `format = "seurat"` puts into the column `p_val`: 1 - `prob_de`. It is the
#' probability that a random cell of the first set differs from one of the second,
#' as far as the model can tell; it says nothing of a population of donors. `fdr`
#' is the expected share of false discoveries among the genes down to this one, and
#' `is_de` marks the longest list in which it stays below `fdr`. From n pairs no
#' probability of being wrong below 1/(n + 1) can be told, so none is given. More in [de_columns].
#' Genes that hardly any cell shows are better left out of `features` in training: of them the model has an opinion that
#' no count supports, and among such genes the share of false discoveries is larger than `fdr` says.
#'
#' @inheritParams normalized_expression
#' @param group_by name of the column of the cell data that holds the groups.
#'   `NULL` is the object's own: `Idents()` of a Seurat object, `colLabels()` of a
#'   SingleCellExperiment. Cells without a group take no part.
#' @param ident_1,ident_2 names of groups. `ident_1 = NULL` compares each group in
#'   turn with the rest; several names are taken together. `ident_2 = NULL` is all
#'   other cells.
#' @param mode `"change"` asks for a change of at least `delta`; `"vanilla"` only
#'   which of the two is larger, and has no `fdr`.
#' @param delta smallest log2 fold change that counts; `NULL` estimates it from
#'   all genes.
#' @param fdr expected share of false discoveries among the genes that `is_de` marks.
#' @param batch_correction decode both sets under the same batches, for sets that
#'   come from different ones.
#' @param format `"latome"`, `"seurat"` or `"bioc"`, see below.
#' @param cells_1,cells_2 instead of groups, the cells themselves: names,
#'   positions, or `TRUE` and `FALSE`. `cells_2 = NULL` is all other cells.
#' @param cells only these cells take part, also in the rest.
#' @param batch_1,batch_2 names of batches to decode each set under; by default
#'   each cell's own, or with `batch_correction` all of them.
#' @param n_samples draws for each set of cells.
#' @param pseudocounts added to the expression fractions before the ratio is taken;
#'   `NULL` estimates it from genes that are hardly seen, those with a mean count
#'   below `threshold_counts`.
#' @param threshold_counts see `pseudocounts`.
#' @param credible levels of credible intervals of the log2 fold change; those of
#'   the first are in `lfc_low` and `lfc_high`.
#' @param test_mode `"three"` takes the likelier direction, `"two"` adds both: then
#'   a gene that varies within the sets passes too.
#' @param permutations pair this many draws at random instead of using each once.
#' @param weights `"importance"` weights the draws by how well they explain the
#'   cells (slow).
#' @param filter_outliers leave out the tenth of each set's cells that lies farthest
#'   off in the latent space (needs the Python package scikit-learn).
#' @return By `format`:
#'
#' * `"latome"`: a data.frame with a row a gene and comparison: `gene`, `group1`,
#'   `group2`, `prob_de`, `prob_not_de`, `bayes_factor` (log odds), `lfc_mean`,
#'   `lfc_median`, `lfc_sd`, `lfc_low`, `lfc_high` (log2; positive is higher in the
#'   first group), `scale1`, `scale2` (mean expression fractions), `pct_1`, `pct_2`
#'   (share of cells with a count), `mean_1`, `mean_2` (of the counts), `fdr`,
#'   `is_de`; then `lfc_min`, `lfc_max`, `norm_mean_1`, `norm_mean_2` (counts per
#'   10,000), `pseudocounts`, `delta`. In mode `"vanilla"` `prob_m1` and `prob_m2`
#'   are the probabilities that the first and the second is larger.
#' * `"seurat"`: the columns of `FindMarkers()`, rows named by gene: `p_val`
#'   (1 - `prob_de`), `avg_log2FC`, `pct.1`, `pct.2`, `p_val_adj` (`fdr`); of several
#'   comparisons those of `FindAllMarkers()`, with `cluster` and `gene`.
#' * `"bioc"`: a `DataFrame` with `logFC`, `PostProb` and `FDR`, rows named by gene;
#'   of several comparisons also `gene`, `group1` and `group2`.
#' @seealso [de_columns] explains each column; [add_differential_expression()] keeps the table in the
#'   object, [plot_volcano()] draws it.
#' @export
#' @examplesIf latome_available()
#' counts <- matrix(rpois(2000, 2), 40, 50, dimnames = list(paste0("g", 1:40), paste0("c", 1:50)))
#' counts[1:5, 1:25] <- counts[1:5, 1:25] + 6
#' cells <- data.frame(type = rep(c("a", "b"), each = 25), row.names = colnames(counts))
#' fit <- run_scvi(counts, training = training_options(max_epochs = 20, threads = 2), verbose = FALSE)
#' de <- differential_expression(counts, fit, group_by = "type", ident_1 = "a", coldata = cells)
#' head(de)
differential_expression <- function(x, model = NULL, group_by = NULL, ident_1 = NULL, ident_2 = NULL,
                                    mode = "change", delta = 0.25, fdr = 0.05, batch_correction = FALSE,
                                    format = "latome", ..., cells_1 = NULL, cells_2 = NULL, cells = NULL,
                                    batch_1 = NULL, batch_2 = NULL, n_samples = 5000L, pseudocounts = NULL,
                                    threshold_counts = 0.01, credible = 0.9, test_mode = "three",
                                    permutations = NULL, weights = "uniform", importance = list(),
                                    filter_outliers = FALSE, seed = 42L, assay = NULL, layer = NULL, coldata = NULL,
                                    allow_noninteger = FALSE) {
  check_no_dots(..., known = names(formals(differential_expression)))
  call <- rlang::current_env()
  check_format(format, check_choice(mode, c("change", "vanilla")), call)
  how <- list(
    mode = mode, delta = check_number(delta, ge = 0, null = TRUE), fdr_target = check_number(fdr, gt = 0, lt = 1),
    batch_correction = check_flag(batch_correction), n_samples_overall = check_whole_number(n_samples, ge = 2),
    pseudocounts = check_number(pseudocounts, ge = 0, null = TRUE),
    threshold_counts = check_number(threshold_counts, ge = 0), cred_interval_lvls = check_levels(credible, call),
    test_mode = check_choice(test_mode, c("three", "two")), weights = check_choice(weights, c("uniform", "importance")),
    importance = check_importance(importance, weights, call),
    use_permutation = !is.null(permutations), filter_outlier_cells = check_flag(filter_outliers)
  )
  if (how$use_permutation) how$m_permutation <- check_whole_number(permutations, ge = 1)
  seed <- check_seed(seed)
  check_one_way(group_by, ident_1, ident_2, cells, cells_1, cells_2, call)
  asked <- open_query(x, model, cells, counts_in(assay, layer, coldata, allow_noninteger), call)
  if (mode == "change" && is.null(pseudocounts)) {
    check_counts_there(asked, "An estimate of the pseudocounts", "Give them: pseudocounts = 1e-5, for example.", call)
  }
  how$batchid1 <- model_batches(asked$fit, batch_1, "batch_1", call)
  how$batchid2 <- model_batches(asked$fit, batch_2, "batch_2", call)
  sets <- if (!is.null(cells_1)) {
    list(compare_cells(cells_1, cells_2, asked$cells, call))
  } else {
    compare_groups(find_groups(x, asked, group_by, call), ident_1, ident_2, call)
  }
  format_de(compare(asked, sets, how, seed, call), format)
}

check_levels <- function(levels, call, arg = "credible") {
  if (!is.numeric(levels) || !length(levels) || anyNA(levels) || any(levels <= 0 | levels >= 1)) {
    abort_supplied(arg, "levels between 0 and 1, such as 0.9", levels, call)
  }
  as.list(unique(as.double(levels)))
}

check_format <- function(format, mode, call) {
  check_choice(format, c("latome", "seurat", "bioc"), arg = "format", call = call)
  if (mode == "vanilla" && format != "latome") {
    abort_latome(paste0("format = \"", format, "\" has no place for mode = \"vanilla\", which has no false discovery rate."),
      "Use mode = \"change\", or format = \"latome\".", field = "format", call = call)
  }
  if (format == "bioc") rlang::check_installed("S4Vectors", "for format = \"bioc\"", call = call)
}

#' Groups, or cells: not both.
#' @noRd
check_one_way <- function(group_by, ident_1, ident_2, cells, cells_1, cells_2, call) {
  check_names(group_by, 1L, "group_by", call)
  if (is.null(cells_1) && !is.null(cells_2)) {
    abort_latome("`cells_2` is given without `cells_1`.", "Give both, or groups.", field = "cells_2", call = call)
  }
  also <- c(
    group_by = !is.null(group_by), ident_1 = !is.null(ident_1), ident_2 = !is.null(ident_2), cells = !is.null(cells)
  )
  if (!is.null(cells_1) && any(also)) {
    arg <- names(also)[also][[1]]
    abort_latome(paste0("`", arg, "` is given together with `cells_1`."),
      "Compare groups (group_by, ident_1, ident_2) or cells (cells_1, cells_2).", field = arg, call = call)
  }
}

#' The groups of the cells asked about: a factor with the levels in use.
#' @noRd
find_groups <- function(x, asked, group_by, call) {
  if (!is.null(group_by)) {
    values <- find_column(asked$coldata, group_by, "group_by", call)
    if (!is.atomic(values) || !is.null(dim(values))) {
      abort_latome(paste0("Column '", group_by, "' is ", article(class(values)[[1]]), ", which names no groups."),
        kind = "FieldError", field = group_by, call = call)
    }
    return(droplevels(as.factor(values)))
  }
  groups <- own_groups(x)
  if (is.null(groups)) {
    abort_latome("There are no groups to compare.",
      "Name the column that holds them: group_by = \"cell_type\"; or give `cells_1` and `cells_2`.",
      kind = "QueryError", field = "group_by", call = call)
  }
  droplevels(as.factor(groups)[asked$places])
}

#' Comparisons of groups: list of list(group1, group2, rows1, rows2), rows from 1.
#' @noRd
compare_groups <- function(groups, ident_1, ident_2, call) {
  known <- levels(groups)
  first <- if (is.null(ident_1)) as.list(known) else list(check_groups(ident_1, known, "ident_1", call))
  second <- if (!is.null(ident_2)) check_groups(ident_2, known, "ident_2", call)
  if (is.null(ident_1)) first <- setdiff(first, as.list(second))
  both <- intersect(unlist(first), second)
  if (length(both)) {
    abort_latome(paste0("Group '", both[[1]], "' is in `ident_1` and in `ident_2`."), "A cell is in one set only.",
      kind = "QueryError", field = "ident_2", call = call)
  }
  if (length(known) < 2L) {
    abort_latome(paste0("All cells are of one group, ", quoted(known), "."),
      "Name a column with several groups: group_by = \"cell_type\".", kind = "QueryError", field = "group_by", call = call)
  }
  lapply(first, function(names) {
    rows1 <- which(groups %in% names)
    rows2 <- if (is.null(second)) which(!is.na(groups) & !groups %in% names) else which(groups %in% second)
    if (!length(rows2)) {
      abort_latome("There are no other cells to compare with.", "Give `ident_1` fewer groups.", kind = "QueryError",
        field = "ident_1", call = call)
    }
    list(group1 = paste(names, collapse = "+"), group2 = if (is.null(second)) "Rest" else paste(second, collapse = "+"),
      rows1 = rows1, rows2 = rows2)
  })
}

check_groups <- function(names, known, arg, call) {
  if (!is.atomic(names) || anyNA(names) || !length(names)) {
    abort_supplied(arg, "names of groups", names, call)
  }
  names <- unique(as.character(names))
  unknown <- setdiff(names, known)
  if (length(unknown)) {
    abort_latome(paste0("There is no group '", unknown[[1]], "'."), suggest(unknown[[1]], known, "Groups"),
      kind = "QueryError", field = arg, call = call)
  }
  names
}

compare_cells <- function(cells_1, cells_2, names, call) {
  rows1 <- sort(match_cells(cells_1, names, "cells_1", call))
  rows2 <- if (is.null(cells_2)) setdiff(seq_along(names), rows1) else sort(match_cells(cells_2, names, "cells_2", call))
  both <- intersect(rows1, rows2)
  if (length(both)) {
    abort_latome(paste0(count_of(length(both), "cell"), " in `cells_1` and in `cells_2`: ", quoted(names[both], 3L), "."),
      "A cell is in one set only.", kind = "QueryError", field = "cells_2", call = call)
  }
  if (!length(rows2)) {
    abort_latome("`cells_1` are all cells: there are no others to compare with.", kind = "QueryError",
      field = "cells_1", call = call)
  }
  list(group1 = "cells_1", group2 = if (is.null(cells_2)) "Rest" else "cells_2", rows1 = rows1, rows2 = rows2)
}
