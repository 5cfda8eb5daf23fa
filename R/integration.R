# Seurat 5's hook for methods of integration: IntegrateLayers(method = ).

#' Integrate the layers of a Seurat 5 object by scVI
#'
#' A method for `Seurat::IntegrateLayers()` of Seurat 5. It trains the model of [run_scvi()] on the counts of the layers
#' and gives its latent space as the integrated reduction. Layers are never joined; their cells and genes may
#' differ, in any order. The numbers are those of [run_scvi()] on the joined object with the same `features`, `batch`
#' and `seed`.
#'
#' @details
#' `IntegrateLayers()` hands on one assay and not the cell data. Covariates reach the model through `groups`:
#'
#' ```
#' object <- IntegrateLayers(object, method = scvi_integration, orig.reduction = NULL,
#'   groups = object[[]], categorical_covariates = "sex", continuous_covariates = "percent.mt")
#' ```
#'
#' By default the batch of a cell is the layer that it is in: of `counts.ctrl` and `counts.stim` the batches are `ctrl`
#' and `stim`. They are stored in the cell data, where questions to the model find them again. `IntegrateLayers()` takes
#' the variable features of the object that are among its scaled data, where there are some; its argument `features`
#' names others.
#'
#' Assays of Seurat 4 have no layers to integrate: give the object to [run_scvi()] with a `batch`. An assay of
#' `SCTransform()` is refused, since its counts are corrected for sequencing depth: integrate the one that it was made
#' of, with `assay = "RNA"`.
#'
#' @param object the assay (`Assay5`), from `IntegrateLayers()`.
#' @param assay its name.
#' @param orig,scale.layer not used.
#' @param layers the layers to integrate: of normalised values, from `IntegrateLayers()`, in whose place the layers of
#'   counts are taken (`counts.ctrl` for `data.ctrl`), or of counts.
#' @param features names of the genes to train on.
#' @param groups a data.frame of cell data, rows named by cell, such as `object[[]]`.
#' @param batch,categorical_covariates,continuous_covariates names of columns of `groups`; see [run_scvi()].
#'   `batch = NULL`: the layer.
#' @param new.reduction name of the reduction, and of the model.
#' @param key key of the reduction; `NULL` makes one of its name.
#' @param ... settings of the model and further arguments of [run_scvi()], such as `n_latent`, `gene_likelihood`
#'   or `labels` (a column of `groups`). Others are an error.
#' @param training,seed,verbose see [run_scvi()].
#' @return A named list, whose elements `IntegrateLayers()` puts into the object: the reduction `new.reduction`, which
#'   carries the trained model for [get_model()], and where the batch is the layer, the column
#'   `<new.reduction>.batch` of the cell data.
#' @seealso [run_scvi()]
#' @export
#' @examplesIf latome_available() && rlang::is_installed("Seurat", version = "5.0.0")
#' counts <- matrix(rpois(4000, 2), 40, 100, dimnames = list(paste0("g", 1:40), paste0("c", 1:100)))
#' object <- SeuratObject::CreateSeuratObject(as(counts, "CsparseMatrix"))
#' object[["RNA"]] <- split(object[["RNA"]], f = rep(c("ctrl", "stim"), 50))
#' object <- Seurat::IntegrateLayers(object, method = scvi_integration, orig.reduction = NULL, layers = "counts",
#'   features = rownames(object), new.reduction = "integrated.scvi",
#'   training = training_options(max_epochs = 3, threads = 2))
#' object[["integrated.scvi"]]
#' get_model(object, "integrated.scvi")
scvi_integration <- function(object, assay = NULL, layers = NULL, orig = NULL, scale.layer = NULL, features = NULL,
                             groups = NULL, batch = NULL, categorical_covariates = NULL,
                             continuous_covariates = NULL, new.reduction = "integrated.dr", key = NULL, ...,
                             training = training_options(), seed = 42L, verbose = TRUE) {
  # `orig` is never touched: without orig.reduction it is an error that waits
  call <- rlang::current_env()
  check_integrable(object, call)
  new.reduction <- check_result_name(new.reduction, "new.reduction", call)
  check_key(key, call)
  others <- check_passed_on(list(...), integration_settings(), call)
  covariates <- list(categorical_covariates = categorical_covariates, continuous_covariates = continuous_covariates)
  columns <- c(covariates, list(batch = batch), others[c("labels", "size_factor")])
  check_handed_on(groups, columns, colnames(object), call)

  chosen <- counts_for(layers, object, call)
  layered <- if (is.null(batch)) batch_of_layers(object, chosen)
  column <- paste0(new.reduction, ".batch")
  carrier <- carry_layers(object, chosen, assay %||% "RNA", groups, rlang::set_names(list(layered), column))
  arguments <- c(covariates, others, list(
    batch = batch %||% if (length(chosen) > 1L) column, assay = assay %||% "RNA", layer = "counts", features = features,
    name = new.reduction, training = training, seed = seed, verbose = verbose
  ))
  carrier <- call_on(carrier, "run_scvi", arguments)
  reduction <- carry_model(carrier, new.reduction, key)
  c(rlang::set_names(list(reduction), new.reduction), if (length(chosen) > 1L && is.null(batch)) carrier[[column]])
}
attr(scvi_integration, "Seurat.method") <- "integration"

#' Arguments of run_scvi() that go through the dots.
#' @noRd
integration_settings <- function() {
  setdiff(names(formals(run_scvi)), c("object", "assay", "layer", "features", "name", "coldata", "..."))
}

check_integrable <- function(object, call) {
  abort <- function(...) abort_latome(..., kind = "FieldError", field = "object", call = call)
  if (inherits(object, "SCTAssay")) {
    abort("The counts of an SCT assay are corrected for sequencing depth; a model needs the raw ones.",
      "Integrate the assay that SCTransform() was given: IntegrateLayers(assay = \"RNA\").")
  }
  if (inherits(object, "Seurat")) {
    abort("scvi_integration() is called by Seurat's IntegrateLayers(), with one assay.",
      "IntegrateLayers(object, method = scvi_integration), or run_scvi(object, batch = ).")
  }
  if (!inherits(object, "StdAssay")) {
    abort(paste0("`object` must be an assay of Seurat 5 (Assay5), not ", article(class(object)[[1]]), "."),
      "Give the Seurat object to run_scvi(object, batch = ).")
  }
}

check_key <- function(key, call) {
  if (!is.null(key) && !(is_string(key) && grepl("^[a-zA-Z][a-zA-Z0-9]*_$", key))) {
    abort_supplied("key", "letters and digits that end with an underscore, such as \"scvi_\"", key, call)
  }
}

#' The cell data: a row for each cell, and the columns that are named.
#' @noRd
check_handed_on <- function(groups, wanted, cells, call) {
  wanted <- Filter(Negate(is.null), wanted)
  if (is.null(groups)) {
    if (length(wanted)) {
      abort_latome(
        paste0("`", names(wanted)[[1]], "` names columns of the cell data, which IntegrateLayers() does not hand on."),
        "Give them too: groups = object[[]].", kind = "FieldError", field = "groups", call = call
      )
    }
    return(invisible())
  }
  if (!is.data.frame(groups)) {
    abort_supplied("groups", "a data.frame of cell data, such as object[[]]", groups, call)
  }
  absent <- setdiff(cells, rownames(groups))
  if (length(absent)) {
    abort_latome(
      paste0("`groups` has no row for ", count_of(length(absent), "cell"), " of ", count_of(length(cells)), ": ",
        quoted(absent, 3L), "."),
      "Rows are matched by name; object[[]] has one for each cell.", kind = "FieldError", field = "groups", call = call
    )
  }
}

#' Names of the layers of counts that belong to the layers given, or of all.
#' @noRd
counts_for <- function(layers, object, call) {
  there <- seurat_layers(object)
  all <- there[grepl("^counts(\\.|$)", there)]
  wanted <- if (is.null(layers)) all else sub("^data(?=\\.|$)", "counts", layers, perl = TRUE)
  absent <- !wanted %in% all
  if (any(absent) || !length(wanted)) {
    which <- paste0(" named ", quoted(wanted[absent], 3L), ", in place of ", quoted(layers[absent], 3L))
    abort_latome(paste0("The assay has no layer of counts", if (any(absent)) which, "."),
      paste0("Its layers: ", quoted(there, 12L), "."), kind = "FieldError", field = "layers", call = call)
  }
  unique(wanted)
}

#' The layer of each cell, without the prefix: strings, named by cell.
#' @noRd
batch_of_layers <- function(object, layers) {
  cells <- lapply(layers, function(layer) SeuratObject::Cells(object, layer = layer))
  batch <- rep(sub("^counts\\.", "", layers), lengths(cells))
  rlang::set_names(batch, unlist(cells))
}

#' A Seurat object of these layers of counts and the cell data.
#' @noRd
carry_layers <- function(object, layers, assay, groups, columns) {
  rlang::local_options(Seurat.object.assay.calcn = FALSE)              # counting would read all of it once more
  if (length(layers) < length(counts_layers(object, "counts"))) {
    counts <- lapply(layers, function(layer) seurat5("LayerData")(object, layer = layer))
    names(counts) <- sub("^counts\\.", "", layers)
    object <- seurat5("CreateAssay5Object")(counts = if (length(counts) > 1L) counts else counts[[1]])
  }
  cells <- colnames(object)
  coldata <- if (is.null(groups)) data.frame(row.names = cells) else groups[cells, , drop = FALSE]
  for (name in names(columns)) coldata[[name]] <- columns[[name]][cells]
  SeuratObject::CreateSeuratObject(object, assay = assay, meta.data = coldata)
}

#' A verb on an object; do.call() would put all of the object into the call that an error shows.
#' @noRd
call_on <- function(object, verb, arguments) {
  here <- rlang::new_environment(list(object = object), parent = asNamespace("latome"))
  rlang::eval_bare(rlang::call2(verb, quote(object), !!!arguments), here)
}

#' The reduction, with the model in it: it is all that goes back.
#' @noRd
carry_model <- function(carrier, name, key) {
  reduction <- carrier[[name]]
  if (!is.null(key)) SeuratObject::Key(reduction) <- key
  reduction@misc$latome <- get_models(carrier)[[name]]
  reduction
}
