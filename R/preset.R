# Settings that go together under one name, such as for_mapping of a model, or "fast" of training.

#' Fill in a preset where the user has not chosen otherwise.
#'
#' @param wanted TRUE or FALSE, the argument of the preset's name
#' @param settings checked settings, a named list
#' @param preset named list of settings
#' @param given names of the arguments in the user's call
#' @return settings
#' @noRd
use_preset <- function(wanted, settings, preset, given, arg = rlang::caller_arg(wanted),
                       call = rlang::caller_env()) {
  if (check_flag(wanted, arg = arg, call = call)) {
    chosen <- preset[setdiff(names(preset), given)]
    settings[names(chosen)] <- chosen
  }
  settings
}

#' Fill in the preset of that name where the user has not chosen otherwise.
#'
#' @param preset name of one of `presets`, or NULL
#' @param settings checked settings, a named list
#' @param presets named list of named lists of settings
#' @param given names of the arguments in the user's call
#' @return settings
#' @noRd
choose_preset <- function(preset, settings, presets, given, arg = rlang::caller_arg(preset),
                          call = rlang::caller_env()) {
  preset <- check_choice(preset, names(presets), null = TRUE, arg = arg, call = call)
  if (is.null(preset)) {
    return(settings)
  }
  use_preset(TRUE, settings, presets[[preset]], given)
}

#' Names of the options that a call of training_options() settles, itself or by a preset.
#' @noRd
given_options <- function(preset, presets, matched) {
  as.character(setdiff(c(names(matched)[-1L], if (!is.null(preset)) names(presets[[preset]])), "preset"))
}

#' Options of training that the user did not give are those of the model.
#'
#' @param training as training_options() returns it
#' @param recipe named list of the model's own defaults, or NULL
#' @noRd
use_recipe <- function(training, recipe) {
  own <- recipe[setdiff(names(recipe), attr(training, "given"))]
  training[names(own)] <- own
  training
}
