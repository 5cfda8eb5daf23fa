# Values on their way to an engine in a process of its own and back: a line of JSON, and a file of bytes for what is
# long. The tags are those of python/latome/bridge/wire.py, and mean what reticulate makes of the same values.

CHUNK <- 2^24                                  # values written at a time: what is copied for it stays small

#' A value as toJSON() takes it; what is long goes into the file of `bytes`.
#'
#' @param bytes as open_bytes() returns it
#' @param child the process that it is for: its handles are numbers there
#' @noRd
encode <- function(value, bytes, child) {
  if (is.null(value)) {
    return(NULL)
  }
  if (inherits(value, "latome_handle")) {
    return(list(`$handle` = handle_number(value, child)))
  }
  if (!is.null(dim(value))) {
    type <- c(double = "float64", integer = "int32", logical = "bool")[[typeof(value)]]
    put_bytes(value, bytes)
    return(list(`$array` = list(dtype = type, shape = as.list(dim(value)))))
  }
  if (is.raw(value)) {
    put_bytes(value, bytes)
    return(list(`$bytes` = length(value)))
  }
  if (is.list(value)) {
    if (!is.null(names(value))) names(value) <- sub("^\\$", "$$", names(value))
    return(lapply(value, encode, bytes, child))
  }
  if (is.character(value) && length(value) > 1L) {
    return(encode_strings(value, bytes))
  }
  value <- lapply(unname(value), encode_one, bytes)
  if (length(value) == 1L) value[[1L]] else value
}

encode_one <- function(value, bytes) {
  if (is.double(value)) {
    return(list(`$float` = if (is.na(value)) "nan" else sprintf("%.17g", value)))
  }
  if (is.character(value) && !is.na(value) && nchar(value, "bytes") > 4096L) {
    value <- charToRaw(enc2utf8(value))
    put_bytes(value, bytes)
    return(list(`$text` = length(value)))
  }
  if (is.character(value)) enc2utf8(value) else value
}

encode_strings <- function(value, bytes) {
  value <- enc2utf8(value)
  size <- sum(nchar(value, "bytes") + 1)       # each ends with a zero byte
  put_bytes(value, bytes, useBytes = TRUE)
  list(`$strings` = list(length(value), size))
}

#' A file of bytes, made when there is something to put into it.
#' @noRd
open_bytes <- function(path) list2env(list(path = path, connection = NULL), parent = emptyenv())

put_bytes <- function(value, bytes, ...) {
  if (is.null(bytes$connection)) bytes$connection <- file(bytes$path, "wb")
  n <- length(value)
  for (start in seq(1, by = CHUNK, length.out = ceiling(n / CHUNK))) {
    writeBin(as.vector(value[start:min(n, start + CHUNK - 1)]), bytes$connection, ...)
  }
}

close_bytes <- function(bytes) if (!is.null(bytes$connection)) close(bytes$connection)

#' What an answer means.
#'
#' @param value what parse_json() made of it
#' @param connection of its file of bytes, or NULL
#' @noRd
decode <- function(value, connection, child) {
  if (!is.list(value)) {
    return(value)
  }
  tag <- names(value)
  if (length(tag) == 1L && grepl("^\\$[^$]", tag)) {
    return(decode_tagged(tag, value[[1L]], connection, child))
  }
  if (!is.null(tag)) names(value) <- sub("^\\$\\$", "$", tag)
  lapply(value, decode, connection, child)
}

decode_tagged <- function(tag, content, connection, child) {
  switch(tag,
    `$float` = as.double(content),
    `$handle` = new_handle(content, child),
    `$bytes` = readBin(connection, "raw", content),
    `$text` = utf8(rawToChar(readBin(connection, "raw", content))),
    `$strings` = utf8(readBin(readBin(connection, "raw", content[[2L]]), "character", content[[1L]])),
    `$vector` = read_values(content, connection),
    `$array` = {
      values <- read_values(content, connection)
      dim(values) <- unlist(content$shape)
      values
    }
  )
}

utf8 <- function(x) {
  Encoding(x) <- "UTF-8"
  x
}

read_values <- function(content, connection) {
  n <- prod(unlist(content$shape))
  switch(content$dtype,
    bool = as.logical(readBin(connection, "integer", n)),
    int32 = readBin(connection, "integer", n),
    float32 = readBin(connection, "double", n, size = 4L),
    float64 = readBin(connection, "double", n)
  )
}
