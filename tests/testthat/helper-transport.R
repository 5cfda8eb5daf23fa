# Tests that look into Python need the engine inside R.
skip_if_process <- function() {
  skip_if(Sys.getenv("LATOME_TRANSPORT") == "process", "needs the engine inside R, not in a process of its own")
}
