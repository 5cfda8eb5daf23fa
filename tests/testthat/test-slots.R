# Every verb that writes, on every container that is installed: what was in the object is there as it was, and what came
# is where the table says, and nothing else.

# --- objects with something in every slot ---------------------------------------------------------

cells <- typed()
chosen <- rownames(cells$counts)[c(1:25, 31:35)]           # the object's own choice of genes: 30 of 40

rich_coldata <- function() {
  n <- ncol(cells$counts)
  data.frame(cells$coldata, percent = replace(seq(0, 1, length.out = n), 7, NA), keep = rep(c(TRUE, FALSE), n / 2),
    lane = factor(rep(1:3, length.out = n), levels = 5:1), words = as.character(seq_len(n)))
}

fill_seurat <- function(object) {
  names <- colnames(object)
  assay <- SeuratObject::DefaultAssay(object)
  SeuratObject::VariableFeatures(object) <- chosen
  SeuratObject::Idents(object) <- factor(rep(c("0", "1"), length.out = ncol(object)), c("2", "1", "0"))
  adt <- matrix(as.double(1:450), 5, 90, dimnames = list(paste0("protein", 1:5), names))
  object[["ADT"]] <- SeuratObject::CreateAssayObject(adt)
  points <- matrix(sin(1:180), 90, 2, dimnames = list(names, c("PC_1", "PC_2")))
  loadings <- matrix(cos(1:60), 30, 2, dimnames = list(chosen, c("PC_1", "PC_2")))
  object[["pca"]] <- SeuratObject::CreateDimReducObject(points, loadings, stdev = c(2, 1), key = "PC_", assay = assay,
    misc = list(total = 3))
  near <- methods::as(Matrix::Matrix(tcrossprod(points) > 0.9, dimnames = list(names, names)) * 1, "CsparseMatrix")
  object[["RNA_snn"]] <- structure(SeuratObject::as.Graph(near), assay.used = assay)
  object@neighbors$nn <- methods::new("Neighbor", nn.idx = matrix(1:180, 90), nn.dist = matrix(0.5, 90, 2),
    cell.names = names)
  object[["fov"]] <- SeuratObject::CreateFOV(data.frame(x = 1:90, y = 90:1, cell = names), type = "centroids",
    assay = assay)
  object[["RunPCA.RNA"]] <- methods::new("SeuratCommand", name = "RunPCA.RNA", time.stamp = Sys.time(),
    assay.used = assay, call.string = "RunPCA(object)", params = list(npcs = 2))
  SeuratObject::Misc(object, "mine") <- list(1, "a")
  SeuratObject::Misc(object[["pca"]], "own") <- "a"
  object@tools$Tool <- list(b = 2)
  SeuratObject::Project(object) <- "mine"
  object
}

rich_seurat <- function(version, divided = FALSE) {
  skip_if_not_installed("SeuratObject", if (version == "v5") "5" else "4")
  withr::local_options(Seurat.object.assay.version = version)
  object <- suppressWarnings(SeuratObject::CreateSeuratObject(cells$counts, meta.data = rich_coldata()))
  logs <- log1p(cells$counts)
  if (version == "v5") {
    layer <- getExportedValue("SeuratObject", "LayerData<-")
    object[["RNA"]] <- layer(object[["RNA"]], "data", value = logs)
    object[["RNA"]] <- layer(object[["RNA"]], "scale.data", value = as.matrix(logs[1:6, ]) - 1)
    object[["RNA"]][["mine"]] <- stats::setNames(replace(seq_len(40), 3, NA), rownames(object))
    if (divided) suppressMessages(object[["RNA"]] <- split(object[["RNA"]], f = object$donor))
  } else {
    object <- SeuratObject::SetAssayData(object, "data", logs)
    object <- SeuratObject::SetAssayData(object, "scale.data", as.matrix(logs[1:6, ]) - 1)
    object[["RNA"]] <- SeuratObject::AddMetaData(object[["RNA"]], replace(seq_len(40), 3, NA), "mine")
  }
  fill_seurat(object)
}

fill_sce <- function(sce) {
  SummarizedExperiment::assay(sce, "logcounts") <- log1p(cells$counts)
  SummarizedExperiment::rowData(sce)$mine <- factor(replace(rep(c("a", "b"), 20), 3, NA), c("c", "b", "a"))
  SingleCellExperiment::rowSubset(sce) <- chosen
  SingleCellExperiment::colLabels(sce) <- factor(rep(c("0", "1"), length.out = 90), c("2", "1", "0"))
  SingleCellExperiment::sizeFactors(sce) <- seq(0.5, 1.5, length.out = 90)
  sce$rle <- S4Vectors::Rle(rep(c("a", "b"), each = 45))
  sce$inner <- S4Vectors::DataFrame(a = 1:90, b = 90:1)
  points <- matrix(sin(1:180), 90, 2, dimnames = list(colnames(sce), c("PC1", "PC2")))
  SingleCellExperiment::reducedDim(sce, "PCA") <- structure(points, percentVar = c(60, 40))
  proteins <- matrix(1:450, 5, 90, dimnames = list(paste0("protein", 1:5), colnames(sce)))
  SingleCellExperiment::altExp(sce, "ADT") <- SummarizedExperiment::SummarizedExperiment(list(counts = proteins),
    metadata = list(of = "ADT"))
  SingleCellExperiment::mainExpName(sce) <- "gene"
  SingleCellExperiment::colPair(sce, "near") <- S4Vectors::SelfHits(1:89, 2:90, 90)
  SingleCellExperiment::rowPair(sce, "near") <- S4Vectors::SelfHits(1:39, 2:40, 40)
  S4Vectors::metadata(sce) <- list(mine = list(1, "a"), c(2, 3))
  sce
}

rich_sce <- function() {
  skip_if_not_installed("SingleCellExperiment")
  coldata <- S4Vectors::DataFrame(rich_coldata())
  fill_sce(SingleCellExperiment::SingleCellExperiment(list(counts = cells$counts), colData = coldata))
}

rich_spe <- function() {
  skip_if_not_installed("SpatialExperiment")
  places <- matrix(as.double(1:180), 90, 2, dimnames = list(colnames(cells$counts), c("x", "y")))
  columns <- S4Vectors::DataFrame(rich_coldata(), sample_id = "one")
  spe <- SpatialExperiment::SpatialExperiment(list(counts = cells$counts), colData = columns, spatialCoords = places)
  image <- SpatialExperiment::SpatialImage(grDevices::as.raster(matrix(0.5, 4, 4)))
  SpatialExperiment::imgData(spe) <- S4Vectors::DataFrame(sample_id = "one", image_id = "slide", data = I(list(image)),
    scaleFactor = 1)
  fill_sce(spe)
}

CONTAINERS <- list(
  "Seurat, Assay" = function() rich_seurat("v3"),
  "Seurat, Assay5" = function() rich_seurat("v5"),
  "Seurat, Assay5 in split layers" = function() rich_seurat("v5", divided = TRUE),
  SingleCellExperiment = rich_sce,
  SpatialExperiment = rich_spe
)

# --- the parts of an object: a flat list, each by its path ----------------------------------------

LEAVES <- c("Matrix", "SeuratCommand", "Neighbor", "SpatialImage", "Hits", "Rle", "package_version")

parts_of <- function(x, path = character()) {
  put <- function(part) stats::setNames(list(part), paste(path, collapse = "/"))
  pieces <- NULL
  if (is.data.frame(x) || methods::is(x, "DataFrame")) {
    pieces <- stats::setNames(lapply(seq_along(x), function(i) x[[i]]), names(x))
    if (methods::is(x, "DataFrame")) pieces[["(metadata)"]] <- S4Vectors::metadata(x)
    pieces[["(rows)"]] <- list(rownames(x), class(x))
  } else if (is.list(x) && !is.object(x) && length(x)) {
    pieces <- stats::setNames(x, named(x))
  } else if (methods::is(x, "SimpleList") && length(x)) {
    pieces <- stats::setNames(as.list(x), named(x))
  } else if (isS4(x) && !any(vapply(LEAVES, methods::is, NA, object = x))) {
    slots <- setdiff(methods::slotNames(x), ".Data")
    if (length(slots)) pieces <- stats::setNames(lapply(slots, methods::slot, object = x), slots)
  }
  if (is.null(pieces)) {
    return(put(x))
  }
  flat <- Map(function(part, name) parts_of(part, c(path, name)), pieces, names(pieces))
  do.call(c, unname(flat))
}

named <- function(x) {
  names <- if (is.null(names(x))) rep("", length(x)) else names(x)
  ifelse(nzchar(names), names, paste0("[", seq_along(x), "]"))
}

# What is new, each at the highest place that was not there: "reductions/scvi", not every slot of it.
additions <- function(before, after) {
  steps <- function(path) {
    parts <- strsplit(path, "/", fixed = TRUE)[[1]]
    vapply(seq_along(parts), function(i) paste(parts[seq_len(i)], collapse = "/"), "")
  }
  known <- unique(unlist(lapply(names(before), steps)))
  unique(vapply(setdiff(names(after), names(before)), function(path) setdiff(steps(path), known)[[1]], ""))
}

# --- the table: what each verb adds, and what it may change ----------------------------------------

seurat_places <- c(
  latent = "reductions/%s", column = "meta.data/%s", feature = "assays/RNA/%s", altExp = "assays/%s",
  command = "commands/%s.%s", kept = "misc/latome%s"
)
sce_places <- c(
  latent = "int_colData/reducedDims/%s", column = "colData/%s", feature = "rowRanges/elementMetadata/%s",
  altExp = "int_colData/altExps/%s", kept = "metadata/latome%s"
)

# A row: the verb, what it stands on (a function of the object), the run, what it adds. `kept` are the entries of what
# the package keeps beside the results that are new, "" where nothing was kept before.
row_of <- function(verb, run, on = identity, latent = NULL, column = NULL, feature = NULL, altExp = NULL, kept = "",
                   logged = "RNA", changed = NULL, removed = NULL) {
  list(verb = verb, run = run, on = on, latent = latent, column = column, feature = feature, altExp = altExp,
    kept = kept, logged = logged, changed = changed, removed = removed)
}

again <- list(training = quick(1), verbose = FALSE)
runs <- function(verb, ...) {
  arguments <- c(list(...), again)
  function(x) do.call(verb, c(list(x), arguments))
}
with_scvi <- runs("run_scvi", batch = "donor", n_latent = 4)

# A reference of other cells of the same genes, which knows their types.
reference <- function() {
  if (is.null(made$reference)) {
    others <- typed(n_cells = 60)
    others$coldata$donor <- rep(c("c", "d"), 30)
    made$reference <- run_scanvi(others$counts, "some", batch = "donor", coldata = others$coldata, n_latent = 3,
      encode_covariates = TRUE, training = quick(2), verbose = FALSE)
  }
  made$reference
}

predicted <- c("predicted.%s", "predicted.%s.score")
TABLE <- list(
  row_of("run_scvi", with_scvi, latent = "scvi"),
  row_of("run_ldvae", runs("run_ldvae", n_latent = 3), latent = "ldvae"),
  row_of("run_scanvi", runs("run_scanvi", labels = "some", n_latent = 3), latent = "scanvi",
    column = sprintf(predicted, "scanvi"), altExp = "prediction.score.scanvi"),
  row_of("run_autozi", runs("run_autozi", n_latent = 3), latent = "autozi",
    feature = c("autozi.prob_zi", "autozi.zero_inflated")),
  row_of("run_solo", runs("run_solo", batch = "donor", model_training = quick(1)),
    column = c("solo.class", "solo.score")),
  row_of("run_cellassign", runs("run_cellassign", markers = cells$markers),
    column = c("cellassign.label", "cellassign.score"), altExp = "prediction.score.cellassign"),
  row_of("map_query", function(x) do.call("map_query", c(list(x, reference(), name = "mapped"), again)),
    latent = "mapped", column = sprintf(predicted, "mapped"), altExp = "prediction.score.mapped"),
  row_of("add_normalized_expression", function(x) add_normalized_expression(x, library_size = 1e4, verbose = FALSE),
    on = with_scvi, altExp = "scvi_expression", kept = "/written", logged = "scvi_expression"),
  row_of("add_differential_expression", function(x) add_differential_expression(x, group_by = "truth", ident_1 = "B",
    n_samples = 50, verbose = FALSE), on = with_scvi, kept = "/de"),
  row_of("add_differential_abundance", function(x) add_differential_abundance(x, "donor", verbose = FALSE),
    on = with_scvi, altExp = "abundance", kept = "/written", logged = "abundance"),
  row_of("minify_counts", function(x) minify_counts(x, verbose = FALSE), on = with_scvi, kept = NULL,
    changed = "kept/models/scvi", removed = TRUE)
)

has_assay5 <- function(object) inherits(object, "Seurat") && inherits(object[["RNA"]], "Assay5")

# Where the rows of the table are in a container.
expected <- function(row, object) {
  seurat <- inherits(object, "Seurat")
  places <- if (seurat) seurat_places else sce_places
  at <- function(what, names) if (length(names)) sprintf(places[[what]], names)
  feature <- if (has_assay5(object)) "meta.data/" else if (seurat) "meta.features/"
  c(
    at("latent", if (seurat) row$latent else toupper(row$latent)), at("column", row$column),
    at("feature", if (length(row$feature)) paste0(feature, row$feature)), at("altExp", row$altExp),
    if (length(row$kept)) at("kept", row$kept), if (seurat) sprintf(places[["command"]], row$verb, row$logged)
  )
}

# What minify_counts() takes away, and the model in which it puts their place.
is_gone <- function(paths, object) {
  counts <- if (!inherits(object, "Seurat")) "assays/data/counts" else
    if (has_assay5(object)) "assays/RNA/layers/counts" else "assays/RNA/counts"
  paths == counts | startsWith(paths, paste0(counts, "/")) | startsWith(paths, paste0(counts, "."))
}

# --- what was added -------------------------------------------------------------------------------

# The latent that is stored is the one that the model gives these cells, asked for in another order.
expect_latent <- function(object, name) {
  seurat <- inherits(object, "Seurat")
  fit <- get_model(object, name)
  cells <- rev(colnames(object))
  stored <- if (seurat) SeuratObject::Embeddings(object, name) else
    SingleCellExperiment::reducedDim(object, toupper(name))
  k <- fit$settings$n_latent
  expect_equal(dimnames(stored), list(colnames(object), paste0(if (seurat) name else toupper(name), "_", seq_len(k))))
  expect_equal(unname(stored[cells, ]), unname(latent_representation(object, fit, cells = cells)), tolerance = 1e-5,
    ignore_attr = TRUE)
  if (seurat) {
    expect_equal(SeuratObject::DefaultAssay(object[[name]]), "RNA")
    expect_equal(SeuratObject::Key(object[[name]]), paste0(name, "_"), ignore_attr = TRUE)
    expect_equal(SeuratObject::Stdev(object[[name]]), unname(apply(stored, 2, stats::sd)))
  }
  if (fit$kind == "ldvae") {
    loadings <- if (seurat) SeuratObject::Loadings(object, name) else attr(stored, "rotation")
    expect_equal(loadings, feature_loadings(fit), ignore_attr = TRUE)
    expect_equal(dimnames(loadings), list(fit$genes, colnames(stored)))
  }
}

values_of <- function(object, name) {
  if (inherits(object, "Seurat")) {
    return(as.matrix(SeuratObject::GetAssayData(object[[name]])))
  }
  inner <- SingleCellExperiment::altExp(object, name)
  expect_equal(SummarizedExperiment::assayNames(inner), name)
  as.matrix(SummarizedExperiment::assay(inner, name))
}

expect_added <- list(
  run_scanvi = function(object) expect_labels(object, "scanvi", c("B", "Mono", "T")),
  map_query = function(object) expect_labels(object, "mapped", c("B", "Mono", "T")),
  run_cellassign = function(object) {
    expect_labels(object, "cellassign", c("B", "Mono", "T"), c("cellassign.label", "cellassign.score"))
  },
  run_solo = function(object) {
    expect_identical(levels(object$solo.class), c("singlet", "doublet"))
    expect_equal(unname(object$solo.class == "doublet"), unname(object$solo.score > 0.5))
    expect_equal(rownames(get_doublets(object)$scores), colnames(object))
  },
  run_autozi = function(object) {
    held <- if (inherits(object, "Seurat")) object[["RNA"]][[]] else SummarizedExperiment::rowData(object)
    asked <- zero_inflation(object)
    expect_equal(held[asked$gene, "autozi.prob_zi"], asked$prob_zero_inflated)
    expect_type(held$autozi.zero_inflated, "logical")
    expect_setequal(rownames(object)[is.na(held$autozi.prob_zi)], setdiff(rownames(object), chosen))
  },
  add_normalized_expression = function(object) {
    values <- values_of(object, "scvi_expression")
    expect_identical(dimnames(values), list(chosen, colnames(object)))
    expect_equal(unname(colSums(values)), rep(1e4, 90), tolerance = 1e-5)
    few <- normalized_expression(object, library_size = 1e4, n_samples = 1)
    expect_equal(values, few)
  },
  add_differential_expression = function(object) expect_setequal(get_de(object)$gene, chosen),
  add_differential_abundance = function(object) {
    expect_equal(values_of(object, "abundance"), t(differential_abundance(object, samples = "donor")))
  },
  minify_counts = function(object) {
    expect_identical(rownames(get_model(object)$posterior$mean), colnames(object))
    expect_latent(object, "scvi")
  }
)

expect_labels <- function(object, name, levels, columns = sprintf(predicted, name)) {
  probabilities <- values_of(object, paste0("prediction.score.", name))
  expect_identical(dimnames(probabilities), list(levels, colnames(object)))
  expect_equal(unname(colSums(probabilities)), rep(1, 90), tolerance = 1e-5)
  data <- get_coldata(object)
  expect_identical(levels(data[[columns[[1]]]]), levels)
  expect_equal(data[[columns[[2]]]], unname(apply(probabilities, 2, max)))
  expect_equal(as.character(data[[columns[[1]]]]), levels[unname(apply(probabilities, 2, which.max))])
}

expect_logged <- function(object, row) {
  command <- object@commands[[paste(row$verb, row$logged, sep = ".")]]
  expect_true(all(vapply(command@params, is.atomic, NA)))
  expect_lt(as.numeric(utils::object.size(command)), 50000)
}

# --- the tests --------------------------------------------------------------------------------------

expect_round_trip <- function(row, object) {
  old <- parts_of(object)
  result <- row$run(object)
  new <- parts_of(result)
  gone <- if (isTRUE(row$removed)) names(old)[is_gone(names(old), object)] else character()
  keeps <- if (inherits(object, "Seurat")) "misc/latome" else "metadata/latome"
  touched <- c(gone, sub("^kept", keeps, row$changed), if (length(gone)) may_follow(object))
  for (path in setdiff(names(old), touched)) {
    same <- path %in% names(new) && identical(old[[path]], new[[path]])
    expect_true(same, label = paste0("'", path, "' is as it was"))
  }
  order <- intersect(names(new), names(old))
  expect_identical(order, intersect(names(old), order))                # no column, assay or reduction changes places
  expect_setequal(as.character(additions(old, new)), as.character(expected(row, object)))
  for (latent in row$latent) expect_latent(result, latent)
  if (inherits(object, "Seurat")) expect_logged(result, row)
  check <- expect_added[[row$verb]]
  if (!is.null(check)) check(result)
}

# An Assay5 that loses a layer notes which features and cells are in none, and which layer is the default now.
may_follow <- function(object) {
  if (has_assay5(object)) paste0("assays/RNA/", c("cells", "features", "default"))
}

for (container in names(CONTAINERS)) {
  for (row in TABLE) {
    local({
      row <- row
      container <- container
      test_that(paste0(row$verb, "() leaves alone what was in a ", container, ", and adds what the table says"), {
        skip_without_engine()
        object <- row$on(CONTAINERS[[container]]())
        expect_round_trip(row, object)
      })
    })
  }
}
