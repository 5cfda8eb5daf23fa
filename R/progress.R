# What is shown while a model trains: one bar where a line can be rewritten, else plain lines.

#' A function that shows where training is: show(state), and show(NULL) at the end.
#'
#' One bar where the line can be rewritten, else a plain line every tenth of the epochs.
#' @noRd
progress <- function(started, verbose) {
  if (!verbose) {
    return(function(state) invisible())
  }
  inform_latome(headline(started))
  if (cli::is_dynamic_tty()) progress_bar(started) else progress_lines(started)
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
