# Solo: an scVI of all cells, then a classifier for each batch.

FEWEST_CELLS <- 10L                            # of a batch: pairs of fewer say nothing of doublets

#' What run_solo() does.
#' @noRd
find_doublets <- function(object, settings, arguments, call) {
  ratio <- check_number(arguments$doublet_ratio, gt = 0, arg = "doublet_ratio", call = call)
  first <- check_training(arguments$model_training, "model_training", call)
  check_expected(arguments$expected, call)
  ready <- if (is.null(arguments$model)) {
    stand_on_new(object, arguments, first, call)
  } else {
    stand_on_given(object, arguments, call)
  }
  found <- classify_batches(ready, settings, ratio, arguments, call)
  made <- c(settings, list(doublet_ratio = ratio), list(expected = arguments$expected))
  store_doublets(object, found, ready, arguments, made, call)
}

#' The cells, and an scVI trained on them.
#' @return list: data, cells, source, coldata, parent, batch (name of the column that parts them, or NULL)
#' @noRd
stand_on_new <- function(object, arguments, training, call) {
  inform_latome("Trains an scVI of all cells first; to keep one, train it with run_scvi() and give it as `model`.",
    arguments$verbose)
  arguments["model"] <- list(NULL)
  ready <- ready_to_train(object, arguments, call)
  batches <- cells_by_batch(c(ready, list(batch = arguments$roles$batch)), call)
  expected_by_batch(arguments$expected, levels(batches), call)           # an error before any work
  arguments$training <- training
  trained <- train("scvi", ready$data, list(), arguments, call)
  if (identical(trained$summary$stopped, "interrupted")) rlang::interrupt()
  c(ready, list(parent = new_model(trained, source = ready$source), batch = arguments$roles$batch))
}

#' The same with an scVI that was trained before; its batches need not be those in which doublets arise.
#' @noRd
stand_on_given <- function(object, arguments, call) {
  parent <- find_parent(object, arguments$model, call)
  batch <- arguments$roles$batch %||% parent$summary$columns$batch
  arguments$roles["batch"] <- list(NULL)
  ready <- ready_to_train(object, stand_on(parent, object, arguments, call), call)
  c(ready, list(parent = parent, batch = batch))
}

#' A run for each batch.
#' @return list: scores (data.frame, a row a cell), simulated (data.frame, a row a simulated doublet), models
#' @noRd
classify_batches <- function(ready, settings, ratio, arguments, call) {
  batches <- cells_by_batch(ready, call)
  expected <- expected_by_batch(arguments$expected, levels(batches), call)
  scores <- data.frame(batch = batches, score = NA_real_, row.names = ready$cells)
  found <- list(simulated = NULL, models = list())
  work <- request("open_doublets", ready$data, ready$parent$document, model_weights(ready$parent, call), keep = "work",
    call = call)$work
  for (batch in levels(batches)) {
    rows <- which(batches == batch)
    if (length(rows) < FEWEST_CELLS) {
      warn_latome(
        paste0("Batch '", batch, "' has ", count_of(length(rows), "cell"), ", too few to simulate doublets of."),
        paste0("Its cells are not classified; that takes ", FEWEST_CELLS, "."))
      next
    }
    run <- classify_batch(work, batch, rows, settings, ratio, arguments, call)
    scores$score[rows] <- as.vector(run$observed)
    found$simulated <- rbind(found$simulated, data.frame(batch = batch, score = as.vector(run$simulated)))
    found$models[[batch]] <- new_model(run, source = ready$source)
    if (identical(run$summary$stopped, "interrupted")) break
  }
  cuts <- cuts_by_batch(scores, expected)
  above <- scores$score > cuts[as.integer(scores$batch)]
  scores$class <- factor(ifelse(above, "doublet", "singlet"), c("singlet", "doublet"))
  found$simulated$batch <- factor(found$simulated$batch, levels(batches))
  say_doublets(scores, arguments$verbose)
  c(list(scores = scores, batch = ready$batch, cuts = cuts), found)
}

#' @noRd
check_expected <- function(expected, call) {
  fine <- is.numeric(expected) && length(expected) && all(is.finite(expected) & expected > 0 & expected < 1)
  if (!is.null(expected) && !(fine && (length(expected) == 1L || !is.null(names(expected))))) {
    abort_supplied("expected", "a share of doublets between 0 and 1, or one for each batch, named", expected, call)
  }
}

#' The expected share of each batch, NULL where none was given.
#' @noRd
expected_by_batch <- function(expected, batches, call) {
  if (is.null(expected)) {
    return(NULL)
  }
  if (is.null(names(expected))) {
    return(rlang::set_names(rep(expected, length(batches)), batches))
  }
  absent <- setdiff(batches, names(expected))
  if (length(absent)) {
    abort_latome(paste0("`expected` names no share for batch ", quoted(absent, 3L), "."),
      suggest(absent[[1]], names(expected), "It names"), field = "expected", call = call)
  }
  expected[batches]
}

#' The score above which a cell of each batch is called: 0.5, or such that the expected share is.
#' @noRd
cuts_by_batch <- function(scores, expected) {
  cut <- function(batch) {
    score <- sort(scores$score[scores$batch == batch], decreasing = TRUE)          # without those not classified
    if (is.null(expected) || !length(score)) {
      return(0.5)
    }
    called <- round(expected[[match(batch, names(expected))]] * length(score))
    score[[min(called + 1, length(score))]]
  }
  vapply(rlang::set_names(levels(scores$batch)), cut, 0)
}

classify_batch <- function(work, batch, rows, settings, ratio, arguments, call) {
  started <- request("start_doublets", work, as_numpy(rows - 1L), ratio, as_python_dict(settings),
    as_python_dict(unclass(arguments$training)), arguments$seed, keep = "trainer", call = call)
  if (nzchar(batch)) started$title <- paste0(started$title, " of batch '", batch, "'")
  drive(started, "finish_doublets", arguments$verbose, call)
}

#' The batch of each cell: a factor, one level "" where there is no column.
#' @noRd
cells_by_batch <- function(ready, call) {
  if (is.null(ready$batch)) {
    return(factor(rep("", length(ready$cells))))
  }
  values <- find_column(ready$coldata, ready$batch, "batch", call)
  if (anyNA(values)) {
    abort_latome(paste0("Column '", ready$batch, "' (batch) is NA in ", count_of(sum(is.na(values)), "cell"), "."),
      "Give them a value, or leave these cells out.", kind = "FieldError", field = ready$batch, call = call)
  }
  droplevels(as.factor(values))
}

say_doublets <- function(scores, verbose) {
  for (part in split(scores, scores$batch)) {
    part <- part[!is.na(part$score), , drop = FALSE]
    if (!nrow(part)) next
    batch <- as.character(part$batch[[1]])
    n <- sum(part$class == "doublet")
    if (n > nrow(part) / 2) {
      warn_latome(paste0("More than half of the cells", if (nzchar(batch)) paste0(" of batch '", batch, "'"),
        " are called doublets, which is not credible."),
        "Let scVI and classifier train to their end, and look at plot_doublets().")
    }
    inform_latome(paste0(if (nzchar(batch)) paste0("Batch '", batch, "': "), count_of(n), " of ",
      count_of(nrow(part), "cell"), " called ", if (n == 1) "a doublet" else "doublets",
      " (", percent(n / nrow(part)), ")."), verbose)
  }
}

percent <- function(share) paste0(format(round(100 * share, 1), nsmall = 1), "%")

#' The weights of the classifiers in the object or in files, each by itself.
#' @noRd
keep_classifiers <- function(models, arguments, call) {
  files <- paste0(arguments$name, "-", gsub("[^A-Za-z0-9.-]+", "_", names(models)))
  keep <- function(model, file) keep_weights(model, file, arguments$keep_model, arguments$verbose, call)
  stats::setNames(Map(keep, models, files), names(models))
}

store_doublets <- function(object, found, ready, arguments, settings, call) {
  name <- arguments$name
  found$models <- if (arguments$keep_model != "none") keep_classifiers(found$models, arguments, call)
  doublets <- structure(c(found, list(settings = settings, seed = arguments$seed, name = name)),
    class = "latome_doublets")
  if (!can_hold(object)) {
    return(doublets)
  }
  columns <- rlang::set_names(found$scores[c("class", "score")], result_names("solo", name)$coldata)
  put <- put_results(object, list(coldata = columns), "solo", name, ready$source$assay, call)
  kept <- get_kept(put$object, call)
  doublets$scores <- NULL                      # they are in the cell data
  kept$doublets[[name]] <- doublets
  object <- log_run(put_kept(put$object, kept), "run_solo", c(arguments, settings), ready$source$assay)
  inform_latome(paste0("Sets: ", put$places, " (see plot_doublets())."), arguments$verbose)
  object
}

#' Scores of doublets, and a plot of them
#'
#' `get_doublets()` gives what [run_solo()] found, `plot_doublets()` draws a histogram of the scores of the observed
#' cells and, in the other direction of the colour, of the doublets that were simulated. Where the two overlap,
#' calls are uncertain; simulated doublets with low scores are of cells of one type, or of a batch too small to learn
#' from.
#'
#' @param x an object with the results of [run_solo()], or what `get_doublets()` returns.
#' @param name name of the results, as given to [run_solo()]; `NULL` where there is only one.
#' @param bins number of bars.
#' @return `get_doublets()` returns a list of class `latome_doublets`: `scores`, a data.frame with a row for each
#'   cell (`batch`, `score`: the probability of a doublet, `class`); `simulated`, one with a row for each
#'   simulated doublet (`batch`, `score`); `batch`, name of the column of batches; `cuts`, the score above which a
#'   cell of each batch is called a doublet; `models`, the classifiers by batch;
#'   `settings`; `seed`; `name`, under which they were stored. `plot_doublets()` returns a ggplot object.
#' @export
#' @examplesIf latome_available() && requireNamespace("ggplot2", quietly = TRUE)
#' counts <- matrix(rpois(2000, 2), 40, 50, dimnames = list(paste0("g", 1:40), paste0("c", 1:50)))
#' short <- training_options(max_epochs = 3, threads = 2)
#' doublets <- run_solo(counts, training = short, model_training = short, verbose = FALSE)
#' doublets
#' plot_doublets(doublets)
get_doublets <- function(x, name = NULL) {
  call <- rlang::current_env()
  if (inherits(x, "latome_doublets")) {
    return(x)
  }
  name <- check_string(name, null = TRUE, call = call)
  held <- get_kept(x, call)$doublets
  if (!length(held)) {
    abort_latome("There are no doublets of run_solo() in this object.", "Run it first.", kind = "QueryError",
      field = "x", call = call)
  }
  if (is.null(name) && length(held) > 1L) {
    abort_latome(paste0("The object carries ", length(held), " results of run_solo()."),
      paste0("Name one of ", quoted(names(held)), "."), kind = "QueryError", field = "name", call = call)
  }
  name <- name %||% names(held)
  if (!name %in% names(held)) {
    abort_latome(paste0("The object carries no doublets '", name, "'."), suggest(name, names(held), "Results"),
      kind = "QueryError", field = "name", call = call)
  }
  doublets <- held[[name]]
  doublets$name <- doublets$name %||% name               # a merged object may carry it under another
  with_scores(doublets, x, call)
}

#' The scores as they stand in the cell data now, of the cells that are there now.
#' @noRd
with_scores <- function(doublets, x, call) {
  coldata <- get_coldata(x)
  columns <- result_names("solo", doublets$name)$coldata
  for (column in c(columns, doublets$batch)) find_column(coldata, column, "doublets", call)
  batch <- if (is.null(doublets$batch)) rep("", nrow(coldata)) else coldata[[doublets$batch]]
  class <- factor(coldata[[columns[[1]]]], c("singlet", "doublet"))       # merge() of Seurat makes it strings
  doublets$scores <- data.frame(batch = factor(batch), score = coldata[[columns[[2]]]], class = class,
    row.names = rownames(coldata))
  doublets
}

#' @method print latome_doublets
#' @export
#' @noRd
print.latome_doublets <- function(x, ...) {
  known <- x$scores[!is.na(x$scores$score), , drop = FALSE]
  n <- sum(known$class == "doublet")
  cat(
    paste0("<latome_doublets> ", count_of(n), " of ", count_of(nrow(known), "cell"), " called doublets (",
      percent(n / max(nrow(known), 1)), "), by ",
      if (is.null(x$settings$expected)) "scores of more than 0.5" else "the share expected in a batch"),
    paste0("Of ", count_of(nrow(x$simulated), "simulated doublet"), " ",
      percent(mean(x$simulated$score > cuts_of(x, x$simulated$batch))), " have such a score."),
    if (length(x$batch)) paste0("Batches of column '", x$batch, "': ", quoted(levels(x$simulated$batch), 8L)),
    sep = "\n"
  )
  invisible(x)
}

#' @rdname get_doublets
#' @export
plot_doublets <- function(x, name = NULL, bins = 40L) {
  bins <- check_whole_number(bins, ge = 2)
  doublets <- get_doublets(x, name)
  rlang::check_installed("ggplot2", "to plot")
  parts <- rbind(
    data.frame(doublets$scores[c("batch", "score")], set = "observed cells"),
    data.frame(doublets$simulated[c("batch", "score")], set = "simulated doublets")
  )
  parts <- parts[!is.na(parts$score), , drop = FALSE]
  marks <- unique(data.frame(batch = parts$batch, cut = cuts_of(doublets, parts$batch)))
  drawn <- ggplot2::ggplot(parts, ggplot2::aes(x = .data$score, fill = .data$set)) +
    ggplot2::geom_histogram(position = "identity", alpha = 0.6, breaks = seq(0, 1, length.out = bins + 1L)) +
    ggplot2::geom_vline(ggplot2::aes(xintercept = .data$cut), marks, linetype = "dashed", colour = "grey40") +
    ggplot2::scale_fill_manual(values = c("observed cells" = BLUE, "simulated doublets" = VERMILION)) +
    ggplot2::scale_x_continuous(breaks = c(0, 0.5, 1)) +
    ggplot2::labs(x = "Probability of a doublet", y = "Number of cells", fill = NULL, title = "Solo") +
    plot_theme()
  if (nlevels(droplevels(parts$batch)) > 1L) {
    drawn <- drawn + ggplot2::facet_wrap("batch", scales = "free_y",
      labeller = ggplot2::as_labeller(doublet_rates(doublets$scores)))
  }
  drawn
}

#' The score above which a cell is called, for each of some batches; 0.5 in results that were made before it was kept.
#' @noRd
cuts_of <- function(doublets, batch) {
  cuts <- unname(doublets$cuts)[match(as.character(batch), names(doublets$cuts))]
  if (is.null(doublets$cuts)) rep(0.5, length(batch)) else cuts
}

#' Batches with their share of doublets, in words, by batch.
#' @noRd
doublet_rates <- function(scores) {
  known <- scores[!is.na(scores$score), , drop = FALSE]
  rate <- tapply(known$class == "doublet", known$batch, mean)
  words <- ifelse(is.na(rate), "", paste0(": ", vapply(rate, percent, ""), " called"))
  rlang::set_names(paste0(names(rate), words), names(rate))
}
