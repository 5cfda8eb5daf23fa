# Tables of differential expression: made, kept in an object, drawn.

DE_COLUMNS <- c("gene", "group1", "group2", "prob_de", "prob_not_de", "bayes_factor", "lfc_mean", "lfc_median",
  "lfc_sd", "lfc_low", "lfc_high", "scale1", "scale2", "pct_1", "pct_2", "mean_1", "mean_2", "fdr", "is_de")

#' The table of all comparisons, columns in the order of the help page.
#' @noRd
compare <- function(asked, sets, how, seed, call) {
  how$comparisons <- lapply(sets, function(set) {
    list(group1 = set$group1, group2 = set$group2, rows1 = as_numpy(set$rows1 - 1L), rows2 = as_numpy(set$rows2 - 1L))
  })
  table <- order_de(as_table(ask_in_steps(asked, "differential_expression", how, seed, "Comparing", call)$table))
  attr(table, "delta") <- how$delta
  attr(table, "fdr") <- how$fdr_target
  table
}

#' @noRd
order_de <- function(table) {
  first <- intersect(DE_COLUMNS, names(table))
  table[c(first, setdiff(names(table), c(first, "comparison")))]
}

#' @noRd
format_de <- function(table, format) {
  switch(format, latome = table, seurat = seurat_de(table), bioc = bioc_de(table))
}

seurat_de <- function(table) {
  several <- nrow(unique(table[c("group1", "group2")])) > 1L
  made <- data.frame(p_val = table$prob_not_de, avg_log2FC = table$lfc_mean, pct.1 = table$pct_1, pct.2 = table$pct_2,
    p_val_adj = table$fdr)
  cluster <- factor(table$group1, unique(table$group1))
  if (several) made[c("cluster", "gene")] <- list(cluster, table$gene)
  rownames(made) <- make.unique(table$gene)
  made[order(as.integer(cluster), made$p_val, -made$avg_log2FC), , drop = FALSE]
}

bioc_de <- function(table) {
  made <- S4Vectors::DataFrame(logFC = table$lfc_mean, PostProb = table$prob_de, FDR = table$fdr)
  if (nrow(unique(table[c("group1", "group2")])) > 1L) {
    return(cbind(S4Vectors::DataFrame(table[c("gene", "group1", "group2")]), made))
  }
  rownames(made) <- table$gene
  made
}

#' Keep differential expression in an object
#'
#' `add_differential_expression()` makes the table of
#' [differential_expression()] and keeps it in the object under a name;
#' `get_de()` reads it back.
#'
#' @param x a Seurat object or a SingleCellExperiment.
#' @param ... arguments of [differential_expression()], all but `format`.
#' @param name name of the table; one of that name is replaced.
#' @param verbose say where the table went?
#' @return `add_differential_expression()` returns the object, with the table in
#'   `Misc(x, "latome")$de[[name]]` (Seurat) or `metadata(x)$latome$de[[name]]`
#'   (SingleCellExperiment). `get_de()` returns the table.
#' @seealso [plot_volcano()]
#' @export
#' @examplesIf latome_available() && requireNamespace("SeuratObject", quietly = TRUE)
#' seu <- run_scvi(SeuratObject::pbmc_small, features = "all",
#'   training = training_options(max_epochs = 10, threads = 2), verbose = FALSE)
#' seu <- add_differential_expression(seu, group_by = "groups", ident_1 = "g1")
#' head(get_de(seu, format = "seurat"))
add_differential_expression <- function(x, ..., name = "de", verbose = TRUE) {
  call <- rlang::current_env()
  check_flag(verbose)
  name <- check_result_name(name, "name", call)
  known <- setdiff(names(formals(differential_expression)), c("x", "...", "format", "coldata"))
  arguments <- check_passed_on(list(...), known, call)
  kept <- get_kept(x, call)
  if (!inherits(x, c("Seurat", "SingleCellExperiment"))) no_place(x, call)
  kept$de[[name]] <- call_on(x, "differential_expression", arguments)
  assay <- the_model(x, arguments$model, call)$source$assay
  x <- put_command(put_kept(x, kept), "add_differential_expression", c(arguments, list(name = name)), assay)
  inform_latome(paste0("Sets: table \"", name, "\" (see get_de())."), verbose)
  x
}

#' @rdname add_differential_expression
#' @param format `"latome"`, `"seurat"` or `"bioc"`, as for
#'   [differential_expression()].
#' @export
get_de <- function(x, name = NULL, format = "latome") {
  call <- rlang::current_env()
  name <- check_string(name, null = TRUE)
  tables <- get_kept(x, call)$de
  if (!length(tables)) {
    abort_latome("There is no table of differential expression in this object.",
      "Make one with add_differential_expression().", kind = "QueryError", field = "name", call = call)
  }
  if (is.null(name) && length(tables) > 1L) {
    abort_latome(paste0("The object carries ", length(tables), " tables."),
      paste0("Name one of ", quoted(names(tables)), "."), kind = "QueryError", field = "name", call = call)
  }
  name <- name %||% names(tables)
  if (!name %in% names(tables)) {
    abort_latome(paste0("The object carries no table '", name, "'."), suggest(name, names(tables), "Tables"),
      kind = "QueryError", field = "name", call = call)
  }
  table <- tables[[name]]
  check_format(format, if ("prob_de" %in% names(table)) "change" else "vanilla", call)
  format_de(table, format)
}

#' Draw differential expression
#'
#' The log2 fold change of each gene against how sure it is.
#'
#' @param de a table of [differential_expression()] in any format and mode
#'   `"change"`, or an object that keeps one.
#' @param name name of the table in the object; `NULL` where there is only one.
#' @param label how many genes of each comparison to name, the surest first; or
#'   their names.
#' @param delta,fdr where to draw lines, and which genes to colour; by default as
#'   the table was made.
#' @return A ggplot object; print it to draw it. The height is -log10 of the
#'   probability of no change, and always finite.
#' @export
#' @examplesIf latome_available() && requireNamespace("ggplot2", quietly = TRUE)
#' counts <- matrix(rpois(2000, 2), 40, 50, dimnames = list(paste0("g", 1:40), paste0("c", 1:50)))
#' counts[1:5, 1:25] <- counts[1:5, 1:25] + 6
#' fit <- run_scvi(counts, training = training_options(max_epochs = 20, threads = 2), verbose = FALSE)
#' plot_volcano(differential_expression(counts, fit, cells_1 = 1:25))
plot_volcano <- function(de, name = NULL, label = 10L, delta = NULL, fdr = NULL) {
  call <- rlang::current_env()
  table <- volcano_table(de, name, call)
  delta <- check_number(delta, ge = 0, null = TRUE) %||% attr(table, "delta")
  fdr <- check_number(fdr, gt = 0, lt = 1, null = TRUE) %||% attr(table, "fdr") %||% 0.05
  rlang::check_installed("ggplot2", "to plot")
  table$change <- factor(ifelse(table$fdr > fdr, "no", ifelse(table$lfc > 0, "up", "down")), c("up", "down", "no"))
  named <- volcano_labels(table, label, call)
  table <- table[order(table$change, decreasing = TRUE), ]                # what changes on top of what does not
  ggplot2::ggplot(table, ggplot2::aes(x = .data$lfc, y = .data$height, colour = .data$change)) +
    (if (length(delta)) ggplot2::geom_vline(xintercept = c(-delta, delta), linetype = "dashed", colour = "grey60")) +
    ggplot2::geom_point(size = 0.8, alpha = 0.7) +
    name_points(named, ggplot2::aes(label = .data$gene)) +
    (if (length(unique(table$comparison)) > 1L) ggplot2::facet_wrap(ggplot2::vars(.data$comparison))) +
    ggplot2::scale_colour_manual(values = c(up = VERMILION, down = BLUE, no = "grey75"), drop = FALSE,
      labels = c(up = "higher", down = "lower", no = paste0("FDR above ", fdr))) +
    ggplot2::guides(colour = ggplot2::guide_legend(override.aes = list(size = 1.8, alpha = 1))) +
    ggplot2::scale_x_continuous(expand = ggplot2::expansion(0.08)) +      # room for names at the edges
    ggplot2::scale_y_continuous(expand = ggplot2::expansion(c(0.02, 0.12))) +
    ggplot2::labs(x = "log2 fold change", y = "-log10 P(no change)", colour = NULL,
      title = if (length(unique(table$comparison)) == 1L) table$comparison[[1]]) +
    plot_theme()
}

#' Any of the three formats as gene, lfc, height, fdr, comparison.
#' @noRd
volcano_table <- function(de, name, call) {
  if (!inherits(de, c("data.frame", "DataFrame", "DFrame"))) de <- get_de(de, name)
  columns <- list(latome = c("lfc_median", "prob_not_de", "fdr"), seurat = c("avg_log2FC", "p_val", "p_val_adj"),
    bioc = c("logFC", "PostProb", "FDR"))
  found <- Filter(function(names) all(names %in% colnames(de)), columns)
  if (!length(found)) {
    abort_latome("This is no table of differential_expression() in mode \"change\".",
      paste0("Its columns: ", quoted(colnames(de)), "."), kind = "QueryError", field = "de", call = call)
  }
  values <- lapply(found[[1]], function(column) de[[column]])
  not_de <- if (names(found)[[1]] == "bioc") 1 - values[[2]] else values[[2]]
  comparison <- if (all(c("group1", "group2") %in% colnames(de))) {
    paste(de$group1, "vs", de$group2)
  } else {
    as.character(de$cluster %||% rep("", nrow(de)))
  }
  table <- data.frame(gene = de$gene %||% rownames(de), lfc = values[[1]], height = -log10(not_de), fdr = values[[3]],
    comparison = factor(comparison, unique(comparison)))
  attr(table, "delta") <- attr(de, "delta")
  attr(table, "fdr") <- attr(de, "fdr")
  table
}

volcano_labels <- function(table, label, call) {
  if (is.character(label)) {
    absent <- setdiff(label, table$gene)
    if (length(absent)) {
      abort_latome(paste0("The table has no gene '", absent[[1]], "'."), suggest(absent[[1]], table$gene, "Its genes"),
        kind = "QueryError", field = "label", call = call)
    }
    return(table[table$gene %in% label, ])
  }
  label <- check_whole_number(label, ge = 0, call = call)
  table <- table[order(-table$height, -abs(table$lfc)), ]
  place <- stats::ave(seq_len(nrow(table)), table$comparison, FUN = seq_along)
  table[place <= label & table$change != "no", ]
}
