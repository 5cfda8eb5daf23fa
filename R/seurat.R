# Seurat objects. Every call into SeuratObject is qualified: SummarizedExperiment masks its names.

#' @export
#' @noRd
get_cells.Seurat <- function(object, assay = NULL, layer = NULL, coldata = NULL,
                             call = rlang::caller_env()) {
  check_seurat_readable(object, call)
  no_coldata(coldata, "a Seurat object", call)
  if (is.null(assay)) check_raw_assay(object, call)
  assay <- check_string(assay, null = TRUE, call = call) %||% SeuratObject::DefaultAssay(object)
  assays <- names(object@assays)
  if (!assay %in% assays) {
    abort_latome(paste0("The object has no assay '", assay, "'."),
      suggest(assay, assays, "Assays"), kind = "FieldError", field = "assay", call = call)
  }
  layer <- check_string(layer, null = TRUE, call = call) %||% "counts"
  list(
    counts = seurat_layer(object, assay, layer, call), coldata = object[[]],
    features = SeuratObject::VariableFeatures(object[[assay]]),
    assay = assay, layer = layer, other_layers = seurat_layers(object[[assay]]),
    where = paste0("layer '", layer, "' of assay '", assay, "'")
  )
}

#' @export
#' @noRd
put_latent.Seurat <- function(object, latent, name, assay, loadings = NULL) {
  latent <- latent[colnames(object), , drop = FALSE]
  object@reductions[[name]] <- NULL            # replacing one by another of other size makes Seurat 5 warn
  key <- free_key(object, name)
  colnames(latent) <- paste0(key, seq_len(ncol(latent)))
  if (is.null(loadings)) loadings <- methods::new("matrix") else colnames(loadings) <- colnames(latent)
  object[[name]] <- SeuratObject::CreateDimReducObject(
    embeddings = latent, loadings = loadings, stdev = unname(apply(latent, 2, stats::sd)), key = key, assay = assay
  )
  object
}

#' @export
#' @noRd
put_coldata.Seurat <- function(object, columns) {
  SeuratObject::AddMetaData(object, match_rows(columns, colnames(object)))
}

#' @export
#' @noRd
put_rowdata.Seurat <- function(object, columns, assay) {
  held <- object[[assay]]
  object@assays[[assay]] <- SeuratObject::AddMetaData(held, match_rows(columns, rownames(held)))
  object
}

#' @export
#' @noRd
coldata_names.Seurat <- function(object) colnames(object[[]])

#' @export
#' @noRd
rowdata_names.Seurat <- function(object, assay = NULL) {
  colnames(object[[assay %||% SeuratObject::DefaultAssay(object)]][[]])
}

#' A key that no assay or reduction has: where two clash, Seurat draws one at random.
#' @noRd
free_key <- function(object, name) {
  taken <- c("md_", unlist(lapply(c(object@assays, object@reductions), SeuratObject::Key)))
  keys <- paste0(gsub("[^a-zA-Z0-9]", "", name), c("", seq_along(taken) + 1L), "_")
  setdiff(keys, taken)[[1]]
}

#' @export
#' @noRd
get_kept.Seurat <- function(object, call = rlang::caller_env()) {
  check_seurat_readable(object, call)
  kept <- SeuratObject::Misc(object, "latome") %||% list()
  brought <- brought_models(object)
  if (length(brought)) kept$models[names(brought)] <- brought
  kept
}

#' Models that a reduction carries, as scvi_integration() leaves them: by the name of the reduction.
#' @noRd
brought_models <- function(object) {
  Filter(Negate(is.null), lapply(object@reductions, function(reduction) reduction@misc$latome))
}

#' @export
#' @noRd
put_kept.Seurat <- function(object, kept) {
  # what get_kept() found in reductions is in `kept` now: two copies would be saved twice
  for (name in names(brought_models(object))) object@reductions[[name]]@misc$latome <- NULL
  # Misc<- warns when it replaces a value, as a second model does
  suppressWarnings(SeuratObject::Misc(object, "latome") <- kept)
  object
}

#' @export
#' @noRd
own_groups.Seurat <- function(object) SeuratObject::Idents(object)

#' @export
#' @noRd
assay_place.Seurat <- function(object, name, call = rlang::caller_env()) {
  ours <- name %in% get_kept(object, call)$written
  if (is_taken(object, name) && !(ours && name %in% names(object@assays))) {
    what <- if (name %in% names(object@assays)) "an assay" else if (name %in% names(object@reductions)) "a reduction" else "something else"
    abort_latome(paste0("The object has ", what, " '", name, "' already, which this function did not write."),
      paste0("Choose another `assay`, such as \"", name, "_expression\"."), field = "assay", call = call)
  }
  paste0("assay \"", name, "\"")
}

#' @export
#' @noRd
put_assay.Seurat <- function(object, values, name, call = rlang::caller_env()) {
  if (any(grepl("[_|]", rownames(values)))) {
    rownames(values) <- gsub("[_|]", "-", rownames(values))            # Seurat would, with a warning
  }
  # also in Seurat 5: an Assay5 copies dense values twice and makes them sparse, all of them
  made <- SeuratObject::CreateAssayObject(data = values)
  object@assays[[name]] <- NULL                # replacing one by another of other size makes Seurat 5 warn
  SeuratObject::Key(made) <- free_key(object, name)
  if (is_seurat5()) made@misc$calcN <- FALSE                            # it has no counts to count
  object[[name]] <- made
  object
}

#' @export
#' @noRd
put_command.Seurat <- function(object, verb, arguments, assay) {
  assay <- assay %||% SeuratObject::DefaultAssay(object)
  # LogSeuratCommand() stores every formal of its caller, hence also models and data frames, and
  # deparses the call stack; the same record is made here of plain values only.
  plain <- Filter(function(x) is.atomic(x) && !is.null(x) && length(x) <= 10000L, arguments)
  shown <- vapply(plain, function(x) if (length(x) > 5L) "..." else deparse1(x), "")
  name <- paste(verb, assay, sep = ".")
  object[[name]] <- methods::new("SeuratCommand",
    name = name, time.stamp = Sys.time(), assay.used = assay,
    call.string = paste0(verb, "(", paste(names(plain), shown, sep = " = ", collapse = ", "), ")"),
    params = plain
  )
  object
}

#' @export
#' @noRd
get_coldata.Seurat <- function(object) object[[]]

#' @export
#' @noRd
holds_counts.Seurat <- function(object, assay, layer) {
  check_seurat_readable(object, rlang::caller_env())
  assay %in% names(object@assays) && length(counts_layers(object[[assay]], layer)) > 0L
}

#' The layers of an assay that make up one, which may be split.
#' @noRd
counts_layers <- function(held, layer) {
  layers <- seurat_layers(held)
  if (layer %in% layers || !is_seurat5()) intersect(layer, layers) else layers[startsWith(layers, paste0(layer, "."))]
}

#' @export
#' @noRd
drop_counts.Seurat <- function(object, assay, layer, call) {
  held <- object[[assay]]
  gone <- counts_layers(held, layer)
  others <- setdiff(seurat_layers(held), gone)
  same <- "data" %in% others && !inherits(held, "Assay5") &&
    identical(assay_slot(held, "data"), assay_slot(held, "counts"))
  if (!length(others) || same) {
    abort_latome(
      paste0("Assay '", assay, "' holds nothing but the counts, and a Seurat object needs something in it."),
      "Normalise it first: NormalizeData().", kind = "FieldError", field = "x", call = call
    )
  }
  if (inherits(held, "Assay5")) {
    drop <- seurat5("LayerData<-")
    # it warns that another layer is the default from now on
    for (part in gone) held <- suppressWarnings(drop(held, layer = part, value = NULL))
  } else {
    methods::slot(held, "counts") <- methods::new("matrix")            # as DietSeurat() does
  }
  object@assays[[assay]] <- held
  object
}

#' @export
#' @noRd
latent_place.Seurat <- function(object, name) paste0("reduction \"", name, "\"")

#' @export
#' @noRd
is_taken.Seurat <- function(object, name) {
  # one name, one thing: Seurat refuses a reduction with the name of an assay
  parts <- c("assays", "reductions", "graphs", "neighbors", "images", "commands")
  name %in% unlist(lapply(parts, function(part) names(methods::slot(object, part))))
}

#' SCTransform() leaves its own assay as the default, whose counts are no longer what was counted.
#' @noRd
check_raw_assay <- function(object, call) {
  assay <- SeuratObject::DefaultAssay(object)
  if (inherits(object@assays[[assay]], "SCTAssay")) {
    others <- c(intersect("RNA", names(object@assays)), setdiff(names(object@assays), assay))
    abort_latome(
      paste0("The default assay '", assay, "' was made by SCTransform(): its counts are corrected for sequencing ",
        "depth, and a model needs the raw ones."),
      paste0("Name the assay of the raw counts",
        if (length(others)) paste0(", such as assay = \"", others[[1]], "\""),
        " (assay = \"", assay, "\" takes the corrected ones all the same)."),
      kind = "FieldError", field = "assay", call = call
    )
  }
}

check_seurat_readable <- function(object, call) {
  if (!requireNamespace("SeuratObject", quietly = TRUE)) {
    abort_latome("A Seurat object needs the package SeuratObject.",
      "Run install.packages(\"SeuratObject\").", kind = "FieldError", field = "object", call = call)
  }
  check_assay_packages(object, call)
  if (!is_seurat5() && any(vapply(object@assays, inherits, NA, "Assay5"))) {
    abort_latome(
      paste0("The object was made by Seurat 5; the installed SeuratObject ",
        utils::packageVersion("SeuratObject"), " cannot read it."),
      paste("Run install.packages(\"SeuratObject\"), or where Seurat 5 is installed save the object",
        "with object[[\"RNA\"]] <- as(object[[\"RNA\"]], \"Assay\")."),
      kind = "FieldError", field = "object", call = call
    )
  }
}

#' An assay of a class that its package defines, such as Signac's ChromatinAssay, cannot even be
#' asked for its size without that package.
#' @noRd
check_assay_packages <- function(object, call) {
  for (name in names(object@assays)) {
    class <- class(object@assays[[name]])
    package <- attr(class, "package")
    if (!is.null(package) && package != ".GlobalEnv" && !requireNamespace(package, quietly = TRUE)) {
      abort_latome(
        paste0("Assay '", name, "' is ", article(class), ", a class of the package ", package,
          ", which is not installed."),
        paste0("Install ", package, ", or take the assay out where it is installed."),
        kind = "FieldError", field = "object", call = call
      )
    }
  }
}

is_seurat5 <- function() utils::packageVersion("SeuratObject") >= "5"

#' A function that only SeuratObject 5 has.
#' @noRd
seurat5 <- function(name) getExportedValue("SeuratObject", name)

#' Layers of an assay that hold something.
#' @noRd
seurat_layers <- function(assay) {
  if (is_seurat5()) {
    return(seurat5("Layers")(assay))
  }
  slots <- c("counts", "data", "scale.data")
  Filter(function(s) ncol(assay_slot(assay, s)) > 0L, slots)
}

#' One matrix of an assay of Seurat 4.
#' @noRd
assay_slot <- function(assay, name) methods::slot(assay, name)

#' One layer as a matrix; a split layer ("counts.donor1", "counts.donor2") as blocks, which are bound by name where
#' they fit into memory together.
#' @noRd
seurat_layer <- function(object, assay, layer, call) {
  held <- object[[assay]]
  parts <- counts_layers(held, layer)
  if (!length(parts)) {
    others <- setdiff(names(object@assays), assay)
    abort_latome(
      paste0("Assay '", assay, "' has no layer '", layer, "' with values in it."),
      paste0("Its layers: ", quoted(seurat_layers(held)), ".",
        if (length(others)) paste0(" Other assays: ", quoted(others), " (argument `assay`).")),
      kind = "FieldError", field = "layer", call = call
    )
  }
  if (!is_seurat5()) {
    return(assay_slot(held, parts))
  }
  blocks <- lapply(parts, function(part) seurat5("LayerData")(held, layer = part))
  join_blocks(blocks, colnames(object), rownames(held), assay, layer, call)
}

#' Blocks of cells, each with its own genes and order, as one thing in the order of the object.
#' @noRd
join_blocks <- function(blocks, cells, genes, assay, layer, call) {
  absent <- setdiff(cells, unlist(lapply(blocks, colnames)))
  if (length(absent)) {
    abort_latome(
      paste0(count_of(length(absent), "cell"), " of the object ", if (length(absent) == 1) "is" else "are",
        " in no layer '", layer, "' of assay '", assay, "': ", quoted(absent, 3L), "."),
      "Take the cells that have counts: subset(object, cells = ...).",
      kind = "FieldError", field = "layer", call = call
    )
  }
  if (length(blocks) > 1L) {
    return(latome_blocks(blocks, cells, intersect(genes, unlist(lapply(blocks, rownames)))))
  }
  if (identical(colnames(blocks[[1]]), cells)) blocks[[1]] else blocks[[1]][, cells, drop = FALSE]
}
