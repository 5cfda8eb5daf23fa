# Answers that take their time: in blocks of cells, or in steps. R asks for one after the other.

#' Blocks of an answer, one request each: R shows how far it is, and an interrupt ends between two.
#'
#' @param verb function of the bridge that makes them
#' @param title what is done, for the bar
#'
#' @return list of two functions: get() the next block (start, stop and values), NULL at the end; close()
#' @noRd
open_blocks <- function(asked, verb, how, seed, title, call) {
  work <- ask(asked, verb, how, seed, call, keep = "work")$work
  bar <- query_bar(title, length(asked$cells))
  list(
    get = function() {
      block <- request("next_block", work, call = call)
      if (is.null(block$stop)) {
        return(NULL)
      }
      bar(block$stop)
      block
    },
    close = function() {
      bar(NULL)
      request("close", work, call = call)
    }
  )
}

#' An answer that the engine works on in steps: R shows how far it is, and an interrupt ends between two.
#'
#' @param verb function of the bridge that makes the work
#' @return the answer
#' @noRd
ask_in_steps <- function(asked, verb, how, seed, title, call) {
  work <- ask(asked, verb, how, seed, call, keep = "work")$work
  bar <- NULL
  on.exit({
    if (!is.null(bar)) bar(NULL)
    request("close", work, call = call)
  })
  repeat {
    reply <- request("proceed", work, 0.1, call = call)
    if (reply$finished) break
    if (is.null(bar)) bar <- query_bar(title, reply$total)
    bar(reply$done)
  }
  reply
}

#' A bar for a query that takes more than two seconds, where the line can be rewritten: bar(done), and bar(NULL)
#' at the end.
#' @noRd
query_bar <- function(title, total) {
  if (!can_redraw() || (isNamespaceLoaded("progressr") && shown_by_progressr())) {
    return(function(done) invisible())
  }
  bar <- cli::cli_progress_bar(title, total = total, .envir = environment(), .auto_close = FALSE)
  function(done) {
    if (is.null(done)) cli::cli_progress_done(id = bar) else cli::cli_progress_update(id = bar, set = done)
  }
}
