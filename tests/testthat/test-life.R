# What becomes of results and models while an object lives: kept, subset, merged, converted, saved.

scanvi <- function(object, ...) {
  run_scanvi(object, "some", batch = "donor", n_latent = 3, training = quick(2), verbose = FALSE, ...)
}

# A Seurat object and a SingleCellExperiment that carry the same scANVI, made once.
carrying <- function() {
  skip_without_engine()
  if (is.null(made$carrying)) {
    made$carrying <- list(seurat = scanvi(typed_seurat()), sce = scanvi(typed_sce()))
  }
  made$carrying
}

stored <- function(object, name = "scanvi") {
  unname(if (inherits(object, "Seurat")) SeuratObject::Embeddings(object, name) else
    SingleCellExperiment::reducedDim(object, toupper(name)))
}

# The numbers of safetensors bytes, without the header that comes before them.
numbers <- function(weights) utils::tail(weights, -(8 + sum(as.integer(weights[1:8]) * 256^(0:7))))

expect_answers <- function(object, ...) {
  expect_equal(unname(latent_representation(object, ...)), stored(object), tolerance = 1e-5, ignore_attr = TRUE)
}

# --- where a model is kept --------------------------------------------------------------------------

test_that("every verb that trains keeps its model where it is told, and the model is the same", {
  skip_without_engine()
  withr::local_options(latome.models = withr::local_tempdir())
  cells <- typed()
  short <- list(training = quick(1), verbose = FALSE)
  reference <- scanvi(cells$counts, coldata = cells$coldata)
  verbs <- list(
    run_scvi = list(), run_ldvae = list(), run_scanvi = list(labels = "some"), run_autozi = list(),
    run_cellassign = list(markers = cells$markers), map_query = list(reference = reference, name = "mapped")
  )
  for (verb in names(verbs)) {
    run <- function(keep) do.call(verb, c(list(typed_sce()), verbs[[verb]], short, keep_model = keep))
    expect_null(get_models(run("none")))
    held <- get_model(run("object"))
    filed <- get_model(run("file"))
    expect_type(held$weights, "raw")
    expect_null(filed$weights)
    expect_true(startsWith(filed$file, normalizePath(getOption("latome.models"))))
    expect_identical(numbers(model_weights(filed, NULL)), numbers(held$weights))
    expect_match(paste(capture.output(print(filed)), collapse = "\n"), "Weights in file", fixed = TRUE)
  }
})

test_that("the classifiers of run_solo() are kept where they are told to, one for each batch", {
  skip_without_engine()
  withr::local_options(latome.models = withr::local_tempdir())
  run <- function(object, keep, ...) {
    run_solo(object, training = quick(1), model_training = quick(1), keep_model = keep, verbose = FALSE, ...)
  }
  sce <- typed_sce()
  sce$donor <- paste("lane/", sce$donor)                               # no name of a file
  held <- get_doublets(run(sce, "object", batch = "donor"))$models
  filed <- get_doublets(run(sce, "file", batch = "donor"))$models
  expect_identical(names(filed), names(held))
  for (batch in names(held)) {
    expect_null(filed[[batch]]$weights)
    expect_identical(numbers(model_weights(filed[[batch]], NULL)), numbers(held[[batch]]$weights))
  }
  expect_null(get_doublets(run(sce, "none", batch = "donor"))$models)
  one <- run(typed()$counts, "file")$models                            # one batch has no name
  expect_length(one, 1)
  expect_type(model_weights(one[[1]], NULL), "raw")
})

# --- parts of an object -----------------------------------------------------------------------------

test_that("a subset of cells, in whatever order, is asked by name", {
  for (object in carrying()) {
    part <- object[, c(80, 3, 41, 7)]
    expect_answers(part)
    rows <- if (inherits(object, "Seurat")) match(colnames(part), colnames(object)) else c(80, 3, 41, 7)
    expect_equal(stored(part), stored(object)[rows, ])
    expect_equal(stats::predict(get_model(part), part)$label, unname(part$predicted.scanvi))
    whole <- normalized_expression(object, features = "gene3", cells = colnames(part))
    expect_equal(colnames(whole), colnames(part))
  }
  few <- subset(carrying()$seurat, subset = truth == "B")
  expect_answers(few)
})

test_that("genes that a model needs are missed by name; genes that it does not know do no harm", {
  for (object in carrying()) {
    expect_error(latent_representation(object[1:38, ]), "2 of the 40 genes of the model.*'gene39', 'gene40'",
      class = "latome_QueryError")
    expect_equal(latent_representation(object[40:1, ]), latent_representation(object))
  }
})

test_that("renamed cells keep their answers, and a model that remembers cells says which it does not know", {
  skip_without_engine()
  renamed <- SeuratObject::RenameCells(carrying()$seurat, add.cell.id = "new")
  expect_answers(renamed)
  expect_equal(rownames(latent_representation(renamed)), colnames(renamed))
  slim <- carrying()$sce
  SummarizedExperiment::assay(slim, "logcounts") <- log1p(SummarizedExperiment::assay(slim, "counts"))
  slim <- minify_counts(slim, verbose = FALSE)
  expect_answers(slim[, 30:21])
  colnames(slim) <- paste0("new_", colnames(slim))
  expect_error(latent_representation(slim), "remembers no posterior of 90 cells: 'new_cell1'",
    class = "latome_QueryError")
})

test_that("DietSeurat() keeps the models, and counts are all that they need", {
  skip_if_not_installed("Seurat")
  object <- carrying()$seurat
  thin <- suppressWarnings(Seurat::DietSeurat(object, assays = "RNA"))
  expect_length(thin@reductions, 0)
  expect_equal(unname(latent_representation(thin)), stored(object), tolerance = 1e-5, ignore_attr = TRUE)
  expect_identical(get_model(thin), get_model(object))
})

test_that("an assay of Seurat 5 is split and joined, and the model answers alike", {
  skip_if_not_installed("SeuratObject", "5")
  object <- carrying()$seurat
  divided <- object
  divided[["RNA"]] <- split(divided[["RNA"]], f = divided$donor)
  expect_answers(divided)
  joined <- divided
  joined[["RNA"]] <- getExportedValue("SeuratObject", "JoinLayers")(joined[["RNA"]])
  expect_answers(joined)
})

# --- several objects in one -------------------------------------------------------------------------

two_parts <- function(object) {
  parts <- list(one = object[, 1:45], two = object[, 46:90])
  list(
    one = run_scvi(parts$one, n_latent = 3, training = quick(2), verbose = FALSE),
    two = run_scvi(parts$two, n_latent = 3, training = quick(2), seed = 7L, verbose = FALSE)
  )
}

test_that("merge() of Seurat objects drops their models, and carry_models() puts both back", {
  skip_without_engine()
  parts <- two_parts(typed_seurat())
  merged <- suppressWarnings(merge(parts$one, parts$two))
  expect_error(get_model(merged), "no model of latome.*carry_models", class = "latome_QueryError")
  expect_message(both <- carry_models(merged, parts), "Carries 2 models: 'scvi', 'scvi.1'")
  expect_identical(lapply(get_models(both), `[[`, "seed"), list(scvi = get_model(parts$one)$seed, scvi.1 = 7L))
  for (model in 1:2) {
    part <- parts[[model]]
    found <- latent_representation(both, c("scvi", "scvi.1")[[model]], cells = colnames(part))
    expect_equal(found, latent_representation(part), tolerance = 1e-5)
  }
  expect_silent(again <- carry_models(both, parts, verbose = FALSE))
  expect_identical(names(get_models(again)), c("scvi", "scvi.1"))      # each once
})

test_that("tables and doublets are carried with the models, and what is ours may be replaced", {
  skip_without_engine()
  parts <- two_parts(typed_seurat())
  parts$one <- add_differential_expression(parts$one, group_by = "truth", ident_1 = "B", n_samples = 20,
    verbose = FALSE)
  parts <- lapply(parts, run_solo, training = quick(1), model_training = quick(1), verbose = FALSE)
  both <- carry_models(suppressWarnings(merge(parts$one, parts$two)), parts, verbose = FALSE)
  expect_identical(get_de(both), get_de(parts$one))
  for (name in c("solo", "solo.1")) {
    expect_equal(unname(get_doublets(both, name)$scores$score), unname(c(parts$one$solo.score, parts$two$solo.score)))
    expect_output(print(get_doublets(both, name)), "of 90 cells called doublets")
  }
  expect_silent(run_solo(both, training = quick(1), model_training = quick(1), verbose = FALSE))
})

test_that("cbind() keeps the models by itself; carry_models() adds none twice", {
  skip_without_engine()
  parts <- two_parts(typed_sce())
  both <- SummarizedExperiment::cbind(parts$one, parts$two)
  expect_identical(names(get_models(both)), c("scvi", "scvi.1"))
  carried <- carry_models(both, parts, verbose = FALSE)
  expect_identical(get_models(carried), get_models(both))
  second <- latent_representation(both, "scvi.1", cells = 46:90)
  expect_equal(unname(second), stored(parts$two, "scvi"), tolerance = 1e-5, ignore_attr = TRUE)
})

test_that("models are carried into another container, or from a list of models", {
  skip_without_engine()
  carried <- carry_models(typed_sce(), carrying()$seurat, verbose = FALSE)
  expect_identical(get_model(carried), get_model(carrying()$seurat))
  expect_equal(unname(latent_representation(carried)), stored(carrying()$seurat), tolerance = 1e-5, ignore_attr = TRUE)
  fit <- get_model(carried)
  named <- carry_models(typed_seurat(), list(atlas = fit, twin = fit), verbose = FALSE)
  expect_identical(get_models(named), list(atlas = fit, twin = fit))
  expect_error(carry_models(typed_seurat(), list(fit)), "`from` must be", class = "latome_SettingError")
  expect_error(carry_models(typed()$counts, list(a = fit)), "written into a Seurat object", class = "latome_FieldError")
})

# --- saved and logged -------------------------------------------------------------------------------

test_that("an object that carries a model is read in a fresh process and answers the same", {
  for (object in carrying()) {
    path <- withr::local_tempfile(fileext = ".rds")
    answer <- withr::local_tempfile(fileext = ".rds")
    saveRDS(object, path)
    package <- if (inherits(object, "Seurat")) "SeuratObject" else "SingleCellExperiment"
    output <- fresh_r(c(
      paste0("suppressMessages(library(", package, "))"), paste0("object <- readRDS(", deparse(path), ")"),
      paste0("saveRDS(list(latent_representation(object), predict(get_model(object), object)), ", deparse(answer), ")")
    ))
    expect_true(file.exists(answer), info = paste(output, collapse = "\n"))
    expect_equal(unname(readRDS(answer)[[1]]), stored(object), tolerance = 1e-5, ignore_attr = TRUE)
    expect_equal(readRDS(answer)[[2]]$label, unname(object$predicted.scanvi))
  }
})

test_that("the log holds no model, no object and no data frame, whatever was given", {
  skip_without_engine()
  object <- typed_seurat()
  fit <- run_scvi(typed()$counts, training = quick(1), verbose = FALSE)
  object <- run_scanvi(object, "some", model = fit, training = quick(1), verbose = FALSE)
  object <- run_solo(object, model = fit, training = quick(1), verbose = FALSE)
  object <- add_normalized_expression(object, "gene1", model = fit, verbose = FALSE)
  object <- add_differential_expression(object, model = fit, group_by = "truth", ident_1 = "B", n_samples = 20,
    verbose = FALSE)
  object <- map_query(object, scanvi(typed()$counts, coldata = typed()$coldata), name = "mapped", training = quick(1),
    verbose = FALSE)
  expect_length(object@commands, 5)
  for (command in object@commands) {
    expect_true(all(vapply(command@params, is.atomic, NA)), label = command@name)
    expect_lt(as.numeric(utils::object.size(command)), 50000)
    expect_false(grepl("weights|latome_model|list\\(", command@call.string))
  }
})

# --- what a model says of itself --------------------------------------------------------------------

test_that("R knows of a model what the engine says, and of one saved before it said so what its kind is", {
  fit <- get_model(carrying()$sce)
  expect_true(has_latent(fit))
  expect_setequal(own_verbs(fit), c("label_probabilities", "plot_predictions"))
  expect_false(needs_all_genes(fit))
  cells <- typed()
  cells$coldata$size <- colSums(cells$counts) / 100
  assign <- function(...) {
    run_cellassign(cells$counts, cells$markers, coldata = cells$coldata, training = quick(1), verbose = FALSE, ...)
  }
  types <- assign()
  expect_false(has_latent(types))
  expect_true(needs_all_genes(types))
  expect_false(needs_all_genes(assign(size_factor = "size")))
  for (new in list(fit, types)) {
    old <- new
    old$summary[c("latent", "questions", "needs_all_genes")] <- NULL
    expect_identical(has_latent(old), has_latent(new))
    expect_identical(own_verbs(old), own_verbs(new))
    expect_identical(needs_all_genes(old), needs_all_genes(new))
  }
  contrary <- fit
  contrary$summary$latent <- FALSE                                     # the engine's word counts
  expect_false(has_latent(contrary))
})

# --- names ------------------------------------------------------------------------------------------

test_that("genes and labels with '_' or '|' keep their names, but in a Seurat object, which has none", {
  skip_without_engine()
  cells <- typed()
  rownames(cells$counts)[1:3] <- c("gene_1", "a|b", "HLA-A_x")
  cells$markers$B[1:3] <- rownames(cells$counts)[1:3]
  cells$coldata$kind <- rep(c("T_cell", "B|cell", NA), 30)
  sce <- SingleCellExperiment::SingleCellExperiment(list(counts = cells$counts),
    colData = S4Vectors::DataFrame(cells$coldata))
  seurat <- suppressWarnings(SeuratObject::CreateSeuratObject(cells$counts, meta.data = cells$coldata))
  run <- function(object) run_scanvi(object, "kind", n_latent = 3, training = quick(1), verbose = FALSE)
  sce <- run(sce)
  expect_identical(get_model(sce)$genes, rownames(cells$counts))
  expect_identical(rownames(normalized_expression(sce, features = c("gene_1", "a|b"))), c("gene_1", "a|b"))
  de <- differential_expression(sce, group_by = "truth", ident_1 = "B", n_samples = 20)
  expect_setequal(de$gene, rownames(cells$counts))
  expect_identical(rownames(SingleCellExperiment::altExp(sce, "prediction.score.scanvi")), c("B|cell", "T_cell"))
  # the model of one answers for the other
  asked <- latent_representation(seurat, get_model(sce))
  expect_equal(unname(asked), stored(sce), tolerance = 1e-5, ignore_attr = TRUE)
  seurat <- add_normalized_expression(seurat, "gene_1", model = get_model(sce), verbose = FALSE)
  expect_identical(rownames(seurat[["scanvi_expression"]]), "gene-1")
  seurat <- run(seurat)
  expect_identical(levels(seurat$predicted.scanvi), c("B|cell", "T_cell"))
  expect_identical(rownames(seurat[["prediction.score.scanvi"]]), c("B-cell", "T-cell"))
  expect_identical(rownames(normalized_expression(seurat, features = "gene_1", model = "scanvi")), "gene-1")
  # markers are found as Seurat has them
  expect_silent(run_cellassign(seurat, cells$markers, training = quick(1), verbose = FALSE))
})
