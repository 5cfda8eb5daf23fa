# Settings that go together under one name, such as for_mapping.

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
