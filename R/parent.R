# Models that start from a trained one: what they take over from it, and what must agree.

#' The trained scVI that `model` names or is.
#' @noRd
find_parent <- function(object, model, call) {
  parent <- if (is_string(model)) find_model(object, model, call) else model
  if (!inherits(parent, "latome_model")) {
    abort_supplied("model", "a trained model, or the name of one that the object carries", model, call)
  }
  if (parent$kind != "scvi") {
    abort_latome(paste0("`model` must be a trained scVI; this is ", article(parent$title), " ", parent$title, "."),
      "Train one with run_scvi(), or leave `model` out.", field = "model", call = call)
  }
  parent
}

#' Arguments of a run that starts from a model: its genes, its columns, and where its counts were.
#' @noRd
stand_on <- function(parent, object, arguments, call) {
  if (!is.null(arguments$features)) {
    abort_latome("A model that starts from another has the genes of that one.", "Leave `features` out.",
      field = "features", call = call)
  }
  if ("for_mapping" %in% arguments$given) {
    abort_latome("A model that starts from another has the networks of that one.",
      "Leave `for_mapping` out, and train that one with for_mapping = TRUE.", field = "for_mapping", call = call)
  }
  arguments$parent <- parent
  arguments$roles <- roles_of_parent(parent, arguments$roles, call)
  arguments$allow_noninteger <- arguments$allow_noninteger || takes_fractions(parent)
  arguments[c("assay", "layer")] <- place_of_counts(object, parent, arguments)
  inform_latome(paste0("Starts from a trained ", parent$title, " of ", count_of(length(parent$genes), "gene"), "."),
    arguments$verbose)
  arguments
}

#' Where the counts are: as told, else where they were for a model, if the object has that.
#' @noRd
place_of_counts <- function(object, fit, told) {
  untold <- is.null(told$assay) && is.null(told$layer)
  if (untold && !is.null(fit$source$assay) && has_assay(object, fit$source$assay)) {
    return(list(assay = fit$source$assay, layer = fit$source$layer))
  }
  list(assay = told$assay, layer = told$layer)
}

#' Columns of a parent, which `roles` may repeat but not change; labels are the child's own.
#' @noRd
roles_of_parent <- function(parent, roles, call) {
  arguments <- c(batch = "batch", categorical = "categorical_covariates", continuous = "continuous_covariates",
    size_factor = "size_factor")
  for (role in names(arguments)) {
    theirs <- strings(parent$summary$columns[[role]])
    if (!is.null(roles[[role]]) && !identical(roles[[role]], theirs)) {
      abort_latome(
        paste0("`", arguments[[role]], "` is ", quoted(roles[[role]]), ", but the model was trained with ",
          if (length(theirs)) quoted(theirs) else "none", "."),
        "Leave it out: the columns are those of the model.", field = arguments[[role]], call = call
      )
    }
    roles[role] <- list(if (length(theirs)) theirs)
  }
  roles
}
