# Sections of a report that ask the model: its latent space, labels, counts and loadings (see report_sections.R).

map_section <- function(about) {
  if (is.null(about$fit) || !has_latent(about$fit$kind)) {
    return(NULL)
  }
  latent <- latent_of(about)
  if (is.null(latent)) {
    return(list("The latent space cannot be shown without the data."))
  }
  map <- latent_map(latent, about$seed)
  colours <- map_colours(about, rownames(latent))
  if (!length(colours)) {
    return(list(map$words, map_plot(map$at, NULL, "cells")))
  }
  c(list(map$words), lapply(names(colours), function(name) map_plot(map$at, colours[[name]], name)))
}

#' Latent of the cells looked at: cells x k, or NULL where there is none.
#' @noRd
latent_of <- function(about) {
  if (!is.null(about$asked)) {
    return(name_latent(about$moments$mean, about$asked$cells))
  }
  if (inherits(about$x, "latome_model") && !is.null(about$fit$latent)) about$fit$latent[about$cells, , drop = FALSE]
}

#' Two coordinates for each cell, and in words what they are.
#' @return list: at (cells x 2), words
#' @noRd
latent_map <- function(latent, seed) {
  n <- count_of(nrow(latent), "cell")
  if (rlang::is_installed(c("uwot", "withr")) && nrow(latent) >= 30L && ncol(latent) > 2L) {
    at <- withr::with_seed(seed, uwot::umap(latent, n_neighbors = 15L, n_threads = 1L, n_sgd_threads = 1L))
    colnames(at) <- c("UMAP 1", "UMAP 2")
    return(list(at = at, words = paste0("UMAP of the latent space, ", n, ", 15 neighbours.")))
  }
  at <- stats::prcomp(latent)$x
  if (ncol(at) < 2L) at <- cbind(at, 0)
  at <- at[, 1:2, drop = FALSE]
  colnames(at) <- c("Component 1", "Component 2")
  list(at = at, words = paste0("First two principal components of the latent space, ", n,
    if (!rlang::is_installed(c("uwot", "withr"))) " (install the packages uwot and withr for a UMAP)", "."))
}

#' What to colour the map by: a named list of factors, one value a cell.
#' @noRd
map_colours <- function(about, cells) {
  columns <- as.character(c(about$fit$summary$columns$batch, about$labels))
  there <- rlang::set_names(unique(columns[columns %in% names(about$coldata)]))
  rows <- match(cells, rownames(about$coldata))
  found <- lapply(there, function(name) factor(about$coldata[[name]][rows]))
  if (!length(about$labels) && can_hold(about$x)) {
    groups <- own_groups(about$x)
    if (nlevels(groups) > 1L) found[["the object's own groups"]] <- factor(groups)[about$cells]
  }
  if (!is.null(about$asked) && knows_labels(about$fit)) {
    found[["predicted label"]] <- best_labels(ask_labels(about$asked, NULL, about$call))$label
  }
  Filter(function(values) nlevels(values) > 0L, found)
}

knows_labels <- function(fit) !is.null(fit) && tells_labels(fit)

map_plot <- function(at, group, name) {
  cells <- data.frame(x = at[, 1], y = at[, 2], group = group %||% factor(rep("cells", nrow(at))))
  middle <- stats::aggregate(cells[c("x", "y")], cells["group"], stats::median)
  n <- nlevels(cells$group)
  cells <- cells[order((seq_len(nrow(cells)) * 0.6180339887498949) %% 1), ]           # no group on top of the others
  by_label <- !is.null(group) && n > 3L
  drawn <- ggplot2::ggplot(cells, ggplot2::aes(x = .data$x, y = .data$y, colour = .data$group)) +
    ggplot2::geom_point(size = if (nrow(cells) > 2000L) 0.3 else 0.7, alpha = 0.7) +
    (if (by_label && n <= 40L) name_points(middle, ggplot2::aes(label = .data$group))) +
    ggplot2::scale_colour_manual(values = palette_of(n), na.value = "grey80") +
    ggplot2::guides(colour = ggplot2::guide_legend(ncol = ceiling(n / 15), override.aes = list(size = 2, alpha = 1))) +
    ggplot2::labs(x = colnames(at)[[1]], y = colnames(at)[[2]], colour = NULL,
      title = if (!is.null(group)) paste("By", name)) +
    plot_theme(axis.text = ggplot2::element_blank()) +
    ggplot2::theme(legend.position = if (is.null(group) || n > 40L) "none" else "right")
  tall(drawn, 4)
}

#' Colours for n groups: those of Okabe and Ito, and what lies between them where there are more.
#' @noRd
palette_of <- function(n) {
  colours <- c(BLUE, VERMILION, "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")
  if (n <= length(colours)) colours[seq_len(n)] else grDevices::colorRampPalette(colours)(n)
}

dimensions_section <- function(about) {
  if (is.null(about$fit) || !has_latent(about$fit$kind)) {
    return(NULL)
  }
  if (is.null(about$asked)) {
    spread <- unlist(about$fit$summary$z_sd)
    return(if (length(spread)) list(unused_words(data.frame(dimension = seq_along(spread), sd = spread), about$fit)))
  }
  moments <- about$moments
  used <- dimension_table(moments$mean, moments$variance)
  list(unused_words(used, about$fit), draw_dimensions(used))
}

unused_words <- function(used, fit) {
  unused <- sort(used$dimension[used$sd < UNUSED_SD])
  weight <- fit$summary$kl_weight
  if (!length(unused)) {
    return(paste0("All ", nrow(used), " latent dimensions are used", if (is_number(weight) && weight < 1) {
      ", which says little while the KL divergence does not have its full weight."
    } else {
      "; a larger n_latent may be worth a try."
    }))
  }
  paste0(length(unused), " of ", nrow(used), " latent dimensions ", if (length(unused) == 1L) "is" else "are",
    " unused (", paste(utils::head(unused, 20L), collapse = ", "), "): the model does not need them, and a smaller ",
    "n_latent would do.")
}

# --- labels, counts, genes ------------------------------------------------------------------------

labels_section <- function(about) {
  fit <- about$fit
  if (!knows_labels(fit) || is.null(about$asked)) {
    return(if (knows_labels(fit)) list(paste0("Labels: ", quoted(fit$levels$labels, 40L), "."), accuracy_line(fit)))
  }
  probabilities <- ask_labels(about$asked, NULL, about$call)
  best <- best_labels(probabilities)
  c(list(labels_words(best)), agreement_items(about, best))
}

labels_words <- function(best) {
  paste0("Of ", count_of(nrow(best), "cell"), " ", percent(mean(best$score >= 0.9)), " have a label with a ",
    "probability of at least 0.9; the median is ", format(round(stats::median(best$score), 3)), ".")
}

#' Given against predicted labels, and whether the probabilities are as often right as they say.
#' @noRd
agreement_items <- function(about, best) {
  if (!length(about$labels)) {
    table <- as.data.frame(table(best$label), stringsAsFactors = FALSE)
    return(list(stats::setNames(table, c("Label", "Cells")), "There are no given labels to compare with (`labels`)."))
  }
  given <- given_labels(about$x, about$labels, rownames(best), about$coldata, about$fit, about$call)
  height <- max(3, 1.4 + 0.22 * nlevels(given))
  known <- given %in% levels(best$label)
  trained <- identical(about$labels, about$fit$summary$columns$labels)
  c(list(tall(draw_confusion(confusion(given, best$label), NULL), height)), if (sum(known) >= 20L) {
    bins <- reliability(best$score[known], as.character(best$label)[known] == as.character(given)[known])
    list(reliability_words(bins, trained), reliability_plot(bins), if (trained) accuracy_line(about$fit))
  })
}

#' How often labels of about the same probability are right: data.frame score, right, n, and low and high, Jeffreys' 95%
#' interval of right.
#' @noRd
reliability <- function(score, right) {
  bin <- cut(score, seq(0, 1, 0.1), include.lowest = TRUE)
  part <- function(values) as.vector(tapply(values, bin, mean))
  bins <- data.frame(score = part(score), right = part(as.double(right)), n = as.vector(table(bin)))
  bins <- bins[bins$n > 0, ]
  hits <- bins$n * bins$right
  bins$low <- stats::qbeta(0.025, hits + 0.5, bins$n - hits + 0.5)
  bins$high <- stats::qbeta(0.975, hits + 0.5, bins$n - hits + 0.5)
  bins
}

reliability_words <- function(bins, trained) {
  off <- sum(bins$n * abs(bins$score - bins$right)) / sum(bins$n)
  paste0("Calibration over ", count_of(sum(bins$n), "cell"), " whose given label the model knows: accuracy ",
    percent(sum(bins$n * bins$right) / sum(bins$n)), ", expected calibration error ", format(round(off, 3)), ".",
    if (trained) paste(" The model was trained with most of these labels, so this is kinder than for new cells; the",
      "line below the figure has what was held out."))
}

reliability_plot <- function(bins) {
  ggplot2::ggplot(bins, ggplot2::aes(x = .data$score, y = .data$right)) +
    ggplot2::geom_abline(colour = "grey60", linetype = "dashed") +
    ggplot2::geom_linerange(ggplot2::aes(ymin = .data$low, ymax = .data$high), colour = BLUE, alpha = 0.5) +
    ggplot2::geom_point(ggplot2::aes(size = .data$n), colour = BLUE) +
    ggplot2::scale_x_continuous(labels = percent_labels) +
    ggplot2::scale_y_continuous(labels = percent_labels) +
    ggplot2::scale_size(range = c(1, 4)) +
    ggplot2::coord_cartesian(xlim = c(min(bins$score, 0.5), 1), ylim = c(0, 1)) +
    ggplot2::labs(x = "Probability of the predicted label", y = "Predictions that are right", size = "Cells") +
    plot_theme() +
    ggplot2::theme(legend.position = "right")
}

predictive_section <- function(about) {
  if (is.null(about$asked) || !has_latent(about$fit$kind)) {
    return(NULL)
  }
  if (isTRUE(about$asked$stored)) {
    return(list("The object holds no counts to compare with (minify_counts())."))
  }
  source <- about$source
  cells <- about$cells[spread_out(length(about$cells), 500L, about$seed)]
  check <- function(metric, n_samples = 10L) {
    predictive_check(about$x, about$fit, metric = metric, n_samples = n_samples, cells = cells, seed = about$seed,
      assay = source$assay, layer = source$layer, coldata = source$coldata, allow_noninteger = source$allow_noninteger)
  }
  covered <- check("calibration", 25L)
  mean_error <- tapply(covered$error, covered$level, mean)
  list(
    paste0("Counts were drawn from the model for ", count_of(length(cells), "cell"), " and compared with those ",
      "observed. Points on the dashed line are replicated by the model."),
    plot_predictive(check("zero_fraction")), plot_predictive(check("cv")), plot_predictive(covered),
    paste0("Intervals of 90% hold ", percent(0.9 + mean_error[["0.9"]]), " of the counts: counts are discrete, so ",
      "that a little more than 90% is as it should be; less means that the model is surer than it may be.")
  )
}

loadings_section <- function(about) {
  if (identical(about$fit$kind, "ldvae")) list(tall(plot_loadings(about$fit), 4))
}

