# The sections of a report. Each is a function of what the report is about (report_subject()) that returns a list of
# paragraphs (strings), figures (ggplot objects) and tables (data.frames), or NULL where it does not apply.

#' @return list of sections: heading, items
#' @noRd
report_sections <- function(about) {
  makers <- list(
    "Data" = data_section, "Settings" = settings_section, "Training" = training_section,
    "Latent space" = map_section, "Latent dimensions" = dimensions_section, "Labels" = labels_section,
    "Posterior predictive checks" = predictive_section, "Loadings" = loadings_section, "Doublets" = doublets_section,
    "Differential expression" = de_section, "Session" = session_section
  )
  made <- lapply(names(makers), function(heading) {
    items <- tryCatch(makers[[heading]](about),
      error = function(e) list(paste("This part could not be made:", conditionMessage(e))))
    list(heading = heading, items = lapply(Filter(length, items), markdown_item))
  })
  Filter(function(section) length(section$items), made)
}

#' Text means itself: what is special in Markdown is escaped.
#' @noRd
markdown_item <- function(item) {
  escape <- function(x) gsub("([\\\\`*_{}<>#$|~^]|\\[|\\])", "\\\\\\1", x)
  if (is.character(item)) {
    return(if (inherits(item, "report_code")) c("```", item, "```") |> paste(collapse = "\n") else escape(item))
  }
  if (is.data.frame(item)) {
    words <- vapply(item, function(column) is.character(column) || is.factor(column), NA)
    item[words] <- lapply(item[words], function(column) escape(as.character(column)))
    names(item) <- escape(names(item))
  }
  item
}

tall <- function(plot, height) {
  attr(plot, "height") <- height
  plot
}

# --- data, settings, training ---------------------------------------------------------------------

data_section <- function(about) {
  c(list(data_words(about), about$why_not), batch_items(about), list(totals_plot(about)))
}

data_words <- function(about) {
  facts <- about$fit$summary
  trained <- if (!is.null(facts)) {
    n_batch <- length(about$fit$levels$batch)
    paste0("The model was trained on ", count_of(facts$n_cells, "cell"), " and ",
      count_of(length(about$fit$genes), "gene"), if (n_batch > 1L) paste0(" in ", count_of(n_batch), " batches"), ".")
  }
  n <- length(about$cells)
  there <- if (about$n_cells > 0L) {
    paste0("The data given hold ", count_of(about$n_cells, "cell"),
      if (n < about$n_cells) paste0("; this report looks at ", count_of(n), " of them"), ".")
  }
  paste(c(trained, there), collapse = " ")
}

#' Cells by batch: of the data where they are there, else the names that the model remembers.
#' @noRd
batch_items <- function(about) {
  column <- about$fit$summary$columns$batch %||% first_of(about$doublets)$batch
  if (is.null(column)) {
    return(list("The model was trained without batches."))
  }
  if (!column %in% names(about$coldata)) {
    return(list(paste0("Batches (column '", column, "'): ", quoted(about$fit$levels$batch, 20L), ".")))
  }
  cells <- table(about$coldata[[column]])
  shown <- utils::head(cells[cells > 0], 30L)
  made <- data.frame(batch = names(shown), cells = vapply(shown, count_of, ""))
  list(stats::setNames(made, c(paste0("Batch (", column, ")"), "Cells")))
}

first_of <- function(x) if (length(x)) x[[1]]

#' A histogram of the counts of each cell, by batch.
#' @noRd
totals_plot <- function(about) {
  totals <- cell_totals(about)
  if (is.null(totals)) {
    return(NULL)
  }
  cells <- data.frame(total = totals, batch = batch_of(about))
  cells <- cells[cells$total > 0, ]
  several <- nlevels(cells$batch) %in% 2:12
  ggplot2::ggplot(cells, ggplot2::aes(x = .data$total, colour = if (several) .data$batch)) +
    ggplot2::geom_freqpoly(bins = 40, show.legend = several) +
    ggplot2::scale_x_log10(labels = function(x) vapply(x, count_of, "")) +
    ggplot2::scale_colour_manual(values = palette_of(if (several) nlevels(cells$batch) else 1L), na.value = BLUE) +
    ggplot2::labs(x = "Counts per cell (over the genes of the model)", y = "Number of cells", colour = NULL) +
    plot_theme()
}

#' Totals of the cells looked at, from the engine where the model has a latent.
#' @noRd
cell_totals <- function(about) {
  if (is.null(about$asked) || !has_latent(about$fit$kind)) {
    return(NULL)
  }
  as.vector(about$moments$totals)
}

#' The batch of each cell looked at: a factor.
#' @noRd
batch_of <- function(about) {
  column <- about$fit$summary$columns$batch
  values <- if (!is.null(column)) about$asked$coldata[[column]]
  droplevels(factor(values %||% rep("all", length(about$asked$cells))))
}

settings_section <- function(about) {
  fit <- about$fit
  if (is.null(fit)) {
    settings <- first_of(about$doublets)$settings
    return(if (length(settings)) list(settings_table(settings)))
  }
  columns <- vapply(Filter(length, fit$summary$columns), function(names) paste(unlist(names), collapse = ", "), "")
  list(
    if (length(columns)) data.frame(Role = names(columns), Column = unname(columns)),
    settings_table(fit$settings)
  )
}

#' By how much a line through the last fifth of a curve falls there; 0 where it is not clear that it does.
#' @noRd
recent_fall <- function(loss, epoch) {
  later <- utils::tail(seq_along(loss), max(4L, ceiling(length(loss) / 5)))
  x <- epoch[later] - mean(epoch[later])
  y <- loss[later] - mean(loss[later])
  slope <- sum(x * y) / sum(x^2)
  error <- sqrt(sum((y - slope * x)^2) / (length(x) - 2) / sum(x^2))
  if (slope < -2 * error) -slope * diff(range(x)) else 0
}

settings_table <- function(settings) {
  words <- vapply(settings, function(value) {
    if (length(value)) paste(format(unlist(value)), collapse = ", ") else "none"
  }, "")
  data.frame(Setting = names(words), Value = unname(words))
}

training_section <- function(about) {
  if (is.null(about$fit)) {
    models <- unlist(lapply(unname(about$doublets), `[[`, "models"), recursive = FALSE)
    return(unlist(lapply(utils::head(names(models), 4L), function(batch) {
      named <- if (nzchar(batch)) list(paste0("Classifier of batch '", batch, "':"))
      c(named, training_items(models[[batch]]))
    }), recursive = FALSE))
  }
  training_items(about$fit)
}

training_items <- function(fit) {
  if (!nrow(fit$history)) {
    return(list("The model has no history of training (it was made elsewhere)."))
  }
  list(
    training_line(fit), loss_line(fit), training_advice(fit), plot_training(fit),
    if (any(is.finite(fit$history$accuracy_train))) plot_training(fit, metric = "accuracy")
  )
}

#' What the curves say, in words.
#' @noRd
training_advice <- function(fit) {
  history <- fit$history
  set <- if (sum(is.finite(history$elbo_validation)) >= 3L) "validation" else "train"
  loss <- history[[paste0("elbo_", set)]]
  known <- is.finite(loss)
  said <- advice_on_curve(loss[known], history$epoch[known], set, identical(fit$summary$stopped, "early"))
  weight <- fit$summary$kl_weight
  c(
    if (identical(fit$summary$stopped, "interrupted")) "Training was interrupted; this is what was learnt by then.",
    said,
    if (has_latent(fit$kind) && is_number(weight) && weight < 1) {
      paste0("The weight of the KL divergence had risen to ", format(weight, digits = 2), " of 1 only, so the latent ",
        "space is held to its prior less than the model says: train for longer, or set a smaller n_epochs_kl_warmup ",
        "of training_options().")
    }
  )
}

#' @param loss,epoch what is known of the curve, in order
#' @return sentences: does the loss still fall, has it risen from its lowest point, or has it settled?
#' @noRd
advice_on_curve <- function(loss, epoch, set, early) {
  if (length(loss) < 5L) {
    return("Too few epochs to say whether training has converged.")
  }
  best <- which.min(loss)
  end <- mean(utils::tail(loss, 3L))
  scale <- abs(min(loss))
  if (end - min(loss) > 0.005 * scale && best < 0.8 * length(loss)) {
    advice <- if (set == "train") "a smaller learning rate may help." else
      paste("the model begins to learn its training cells by heart. Fewer epochs, early stopping or a smaller network",
        "may do better.")
    return(paste0("The ", set, " loss was lowest at epoch ", epoch[[best]], " and has risen by ",
      loss_text(end - min(loss)), " nats per cell since: ", advice))
  }
  fall <- recent_fall(loss, epoch)
  if (!early && fall > max(0.002 * scale, 0.01)) {
    return(paste0("The ", set, " loss still fell by ", loss_text(fall), " nats per cell over the last fifth of the ",
      "epochs: training has not converged. Train for longer (max_epochs of training_options())."))
  }
  paste0("The ", set, " loss has levelled out", if (early) ", and training stopped early for that", ".")
}

# --- doublets, differential expression, session --------------------------------------------------

doublets_section <- function(about) {
  found <- about$doublets
  unlist(lapply(names(found), function(name) {
    doublets <- found[[name]]
    lines <- utils::capture.output(print(doublets))
    c(as.list(sub("^<latome_doublets> ", "", lines)), list(doublet_table(doublets), plot_doublets(doublets)))
  }), recursive = FALSE)
}

doublet_table <- function(doublets) {
  known <- doublets$scores[!is.na(doublets$scores$score), , drop = FALSE]
  parts <- split(known, droplevels(known$batch))
  data.frame(
    Batch = if (length(parts) == 1L && !nzchar(names(parts))) "all cells" else names(parts),
    Cells = vapply(parts, nrow, 0L), Doublets = vapply(parts, function(part) sum(part$class == "doublet"), 0L),
    Share = vapply(parts, function(part) percent(mean(part$class == "doublet")), "")
  )
}

de_section <- function(about) {
  shown <- utils::head(names(about$tables), 10L)
  unlist(lapply(shown, function(name) de_items(about$tables[[name]], name)), recursive = FALSE)
}

#' The first comparisons of a table: a volcano, and their surest genes.
#' @noRd
de_items <- function(table, name) {
  comparison <- paste(table$group1, "vs", table$group2)
  first <- utils::head(unique(comparison), 6L)
  more <- length(unique(comparison)) - length(first)
  change <- "prob_de" %in% names(table)
  volcano <- if (change) {
    kept <- table[comparison %in% first, , drop = FALSE]
    attributes(kept)[c("delta", "fdr")] <- attributes(table)[c("delta", "fdr")]
    tall(plot_volcano(kept, label = if (length(first) > 2L) 4L else 10L), if (length(first) > 3L) 5 else 3)
  }
  top <- do.call(rbind, lapply(first, function(one) {
    utils::head(table[comparison == one, , drop = FALSE], if (length(first) > 1L) 5L else 10L)
  }))
  columns <- c("group1", "group2", "gene", "lfc_median", "lfc_low", "lfc_high", "prob_de", "prob_m1", "fdr")
  list(
    paste0("Table '", name, "': ", count_of(nrow(table), "row"), ", ",
      count_of(length(unique(comparison)), "comparison"),
      if (more) paste0(", of which the first ", length(first), " are shown"),
      if ("is_de" %in% names(table)) paste0("; ", count_of(sum(table$is_de)), " differential"),
      ". Probabilities are posterior probabilities, not p-values."),
    volcano, top[intersect(columns, names(top))]
  )
}

session_section <- function(about) {
  fit <- about$fit
  by <- fit$summary$source %||% paste0("latome ", fit$version, ", seed ", fit$seed)
  made <- if (!is.null(fit)) paste0("The model was trained by ", by, ".")
  lines <- utils::capture.output(utils::sessionInfo())
  page <- paste0("This page was made by latome ", utils::packageVersion("latome"), ", seed ", about$seed, ".")
  status <- if (!is.null(about$asked)) latome_status()
  engine <- if (length(status$versions)) {
    paste0("Engine: ", paste(names(status$versions), status$versions, collapse = ", "), ".")
  }
  list(paste(c(made, page), collapse = " "), engine, structure(lines, class = "report_code"))
}
