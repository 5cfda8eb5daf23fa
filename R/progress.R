# What is shown while a model trains: one bar where a line can be rewritten, else plain lines.

#' A function that shows where training is: show(state), and show(NULL) at the end.
#'
#' One bar where the line can be rewritten, else a plain line every tenth of the epochs. Where the user has asked the
#' package progressr to show progress, that is left to it.
#' @noRd
progress <- function(started, verbose) {
  if (!verbose) {
    return(function(state) invisible())
  }
  inform_latome(headline(started))
  signal <- if (isNamespaceLoaded("progressr")) progress_signals(started)
  if (isNamespaceLoaded("progressr") && shown_by_progressr()) {
    return(signal)
  }
  draw <- if (can_redraw()) progress_bar(started) else progress_lines(started)
  function(state) {
    if (!is.null(signal)) signal(state)
    draw(state)
  }
}

#' Can a line be rewritten? In a document that is knitted it cannot, whatever the terminal behind it.
#' @noRd
can_redraw <- function() cli::is_dynamic_tty() && !isTRUE(getOption("knitr.in.progress"))

#' Does progressr show what is signalled: inside its with_progress(), or by its global handler?
#' @noRd
shown_by_progressr <- function() {
  if (!isTRUE(getOption("progressr.enable", TRUE))) {
    return(FALSE)
  }
  within <- function(verb) any(vapply(sys.nframe():1, function(n) identical(sys.function(n), verb), NA))
  if (within(progressr::with_progress)) {
    return(TRUE)
  }
  !within(progressr::without_progress) && isTRUE(progressr::handlers(global = NA))
}

#' Progress as conditions of progressr, which whoever listens may show.
#' @noRd
progress_signals <- function(started) {
  signal <- progressr::progressor(steps = started$n_steps, on_exit = FALSE, envir = environment())
  last <- list2env(list(step = 0))
  function(state) {
    if (is.null(state)) {
      return(invisible(signal(type = "finish")))
    }
    step <- min(state$step, started$n_steps)
    signal(message = progress_text(state, started$loss), amount = step - last$step)
    assign("step", step, envir = last)
    invisible()
  }
}

progress_bar <- function(started) {
  bar <- cli::cli_progress_bar(
    total = started$n_steps, clear = FALSE, auto_terminate = FALSE, .envir = environment(),
    .auto_close = FALSE, format = "{cli::pb_bar} {cli::pb_percent}  {cli::pb_extra$text}",
    extra = list(text = "")
  )
  function(state) {
    if (is.null(state)) {
      return(cli::cli_progress_done(id = bar))
    }
    step <- min(state$step, started$n_steps)
    cli::cli_progress_update(id = bar, set = step, extra = list(text = progress_text(state, started$loss)))
  }
}

progress_lines <- function(started) {
  every <- max(1L, ceiling(started$n_epochs / 10))
  said <- 0L
  last <- environment()
  function(state) {
    if (is.null(state)) {
      return(invisible())
    }
    due <- state$epoch %/% every > last$said %/% every
    ended <- state$state != "running" && state$epoch > last$said
    if (state$epoch > 0 && (due || ended)) {
      inform_latome(progress_text(state, started$loss))
      assign("said", state$epoch, envir = last)
    }
  }
}

headline <- function(started) {
  paste(c(
    started$title,
    paste(c(count_of(started$n_cells, "cell"), if (is_number(started$n_genes)) count_of(started$n_genes, "gene")),
      collapse = " x "),
    if (is_number(started$n_simulated)) count_of(started$n_simulated, "simulated doublet"),
    if (is_number(started$n_batch)) count_of(started$n_batch, "batch", "batches"),
    paste0(started$device, ", ", count_of(started$threads, "thread"))
  ), collapse = " | ")
}

progress_text <- function(state, loss = "elbo") {
  paste(c(
    paste0("epoch ", state$epoch, "/", state$n_epochs),
    if (is_number(state$elbo)) paste(loss, loss_text(state$elbo)),
    if (is_number(state$elbo_validation)) paste("validation", loss_text(state$elbo_validation)),
    if (is_number(state$accuracy)) paste("accuracy", format(round(state$accuracy, 2), nsmall = 2)),
    duration(state$seconds)
  ), collapse = "  ")
}

#' A loss: the ELBO of a cell is in the hundreds, the cross-entropy of two classes below 1.
#' @noRd
loss_text <- function(x) if (abs(x) < 10) format(round(x, 3), nsmall = 3) else one_decimal(x)

one_decimal <- function(x) format(round(x, 1), nsmall = 1, big.mark = ",")

duration <- function(seconds) {
  if (!is_number(seconds)) {
    return(NULL)
  }
  if (seconds < 60) {
    return(paste0(one_decimal(seconds), "s"))
  }
  minutes <- seconds %/% 60
  if (minutes < 60) {
    return(paste0(minutes, "m ", round(seconds %% 60), "s"))
  }
  paste0(minutes %/% 60, "h ", minutes %% 60, "m")
}
