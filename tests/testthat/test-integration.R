# An Assay5 of two batches whose genes and cells differ, in other orders than those of the object; none is normalised.
uneven_assay <- function(counts = small_counts(), donor = small_coldata()$donor) {
  skip_if_not_installed("SeuratObject", "5")
  a <- counts[, donor == "a"]
  b <- counts[nrow(counts):1, rev(which(donor == "b"))]
  seurat5("CreateAssay5Object")(counts = list(a = a[-3, ], b = b[rownames(b) != "gene7", ]))
}

uneven_seurat <- function(...) {
  suppressWarnings(SeuratObject::CreateSeuratObject(uneven_assay(...), meta.data = small_coldata()))
}

skip_without_layers <- function() {
  skip_if_not_installed("SeuratObject", "5")         # Seurat 4 has neither layers nor IntegrateLayers()
  skip_if_not_installed("Seurat", "5")
}

integrate <- function(object, ..., features = paste0("gene", 1:30)) {
  withCallingHandlers(
    Seurat::IntegrateLayers(object, method = scvi_integration, orig.reduction = NULL, features = features,
      training = quick(), verbose = FALSE, ...),
    # Seurat's own, where nothing was scaled
    warning = function(w) if (grepl("No layers found matching", conditionMessage(w))) invokeRestart("muffleWarning")
  )
}

test_that("it says that it integrates, and never touches orig", {
  expect_identical(attr(scvi_integration, "Seurat.method"), "integration")
  expect_error(scvi_integration(small_counts(), orig = stop("orig was touched")),
    "must be an assay of Seurat 5.*dgCMatrix")
  skip_if_not_installed("SeuratObject")
  expect_error(scvi_integration(small_seurat()), "called by Seurat's IntegrateLayers", class = "latome_FieldError")
})

test_that("split layers give what the joined object gives, number by number", {
  skip_without_engine()
  skip_without_layers()
  object <- uneven_seurat()
  integrated <- integrate(object, new.reduction = "integrated.scvi")
  joined <- run_scvi(SeuratObject::JoinLayers(object), batch = "donor", features = paste0("gene", 1:30),
    training = quick(), verbose = FALSE)
  expect_identical(unname(SeuratObject::Embeddings(integrated, "integrated.scvi")),
    unname(SeuratObject::Embeddings(joined, "scvi")))
  expect_identical(get_model(integrated)$weights, get_model(joined)$weights)
  expect_setequal(SeuratObject::Layers(integrated), c("counts.a", "counts.b"))       # nothing was joined
})

test_that("what comes back is a reduction, the batch, and a model that answers", {
  skip_without_engine()
  skip_without_layers()
  object <- uneven_seurat()
  integrated <- integrate(object, n_latent = 4, key = "my_")
  reduction <- integrated[["integrated.dr"]]
  expect_equal(colnames(SeuratObject::Embeddings(reduction)), paste0("my_", 1:4))
  expect_equal(rownames(SeuratObject::Embeddings(reduction)), colnames(object))
  expect_equal(SeuratObject::DefaultAssay(reduction), "RNA")
  expect_equal(unname(integrated$integrated.dr.batch), unname(object$donor))
  expect_equal(setdiff(colnames(integrated[[]]), colnames(object[[]])), "integrated.dr.batch")

  expect_equal(get_model(integrated, "integrated.dr")$settings$n_latent, 4)
  expect_equal(unname(latent_representation(integrated)), unname(SeuratObject::Embeddings(reduction)), tolerance = 1e-5)
  table <- differential_expression(integrated, group_by = "donor", ident_1 = "a", n_samples = 50)
  expect_equal(nrow(table), 30)
  part <- integrated[, 11:50]
  expect_equal(unname(latent_representation(part)), unname(SeuratObject::Embeddings(reduction))[11:50, ],
    tolerance = 1e-5)
})

test_that("a second model leaves the first where it can be found, once", {
  skip_without_engine()
  skip_without_layers()
  object <- integrate(integrate(uneven_seurat(), new.reduction = "first"), n_latent = 2, new.reduction = "second")
  object <- run_scvi(object, batch = "donor", training = quick(1), verbose = FALSE)
  expect_setequal(names(get_models(object)), c("first", "second", "scvi"))
  expect_length(brought_models(object), 0)                              # they moved to where all models are kept
  object <- integrate(object, n_latent = 2, n_hidden = 64, new.reduction = "second")
  expect_equal(get_model(object, "second")$settings$n_hidden, 64)        # the newer one
})

test_that("covariates come by `groups`, and their absence is said", {
  skip_without_engine()
  skip_without_layers()
  object <- uneven_seurat()
  expect_error(integrate(object, batch = "lane"), "does not hand on.*groups = object", class = "latome_FieldError")
  expect_error(integrate(object, groups = object[[]], batch = "lanes"), "no column 'lanes'.*'lane'")
  expect_error(integrate(object, groups = object[[]][1:9, ]), "no row for 51 cells", class = "latome_FieldError")
  expect_error(integrate(object, groups = "donor"), "must be a data.frame of cell data")
  expect_error(integrate(object, n_latnt = 3), "Unknown argument 'n_latnt'.*'n_latent'")

  integrated <- integrate(object, groups = object[[]][60:1, ], batch = "lane", categorical_covariates = "donor",
    continuous_covariates = "percent")
  columns <- get_model(integrated)$summary$columns
  expect_equal(unlist(columns[c("batch", "categorical", "continuous")]),
    c(batch = "lane", categorical = "donor", continuous = "percent"))
  expect_equal(colnames(integrated[[]]), colnames(object[[]]))           # the batch is the user's own
  joined <- run_scvi(SeuratObject::JoinLayers(object), batch = "lane", categorical_covariates = "donor",
    continuous_covariates = "percent", features = paste0("gene", 1:30), training = quick(), verbose = FALSE)
  expect_identical(unname(SeuratObject::Embeddings(integrated, "integrated.dr")),
    unname(SeuratObject::Embeddings(joined, "scvi")))
})

test_that("layers of values stand for those of counts; a layer may be left out", {
  skip_if_not_installed("SeuratObject", "5")
  assay <- uneven_assay()
  expect_equal(counts_for(c("data.b", "counts.a"), assay, NULL), c("counts.b", "counts.a"))
  expect_equal(counts_for(NULL, assay, NULL), c("counts.a", "counts.b"))
  expect_error(counts_for("data.c", assay, NULL),
    "no layer of counts named 'counts.c', in place of 'data.c'.*'counts.b'", class = "latome_FieldError")
  skip_without_engine()
  skip_without_layers()
  object <- uneven_seurat()
  expect_warning(integrated <- integrate(object, layers = "counts.a"), "no genes of the data.*'gene3'")
  expect_setequal(rownames(SeuratObject::Embeddings(integrated, "integrated.dr")), colnames(object)[1:30])
})

test_that("an assay of SCTransform() is refused, with the reason", {
  skip_if_not_installed("Seurat")
  object <- structure(list(), class = "SCTAssay")
  expect_error(scvi_integration(object), "corrected for sequencing depth.*assay = \"RNA\"", class = "latome_FieldError")
})

# `batch` is the column by which the object is, or was, split.
expect_same_as_joined <- function(object, batch) {
  object <- Seurat::NormalizeData(object, verbose = FALSE)
  features <- SeuratObject::VariableFeatures(Seurat::FindVariableFeatures(object, nfeatures = 300, verbose = FALSE))
  integrated <- integrate(object, features = features)
  joined <- run_scvi(SeuratObject::JoinLayers(object), batch = batch, features = features, training = quick(),
    verbose = FALSE)
  expect_identical(unname(SeuratObject::Embeddings(integrated, "integrated.dr")),
    unname(SeuratObject::Embeddings(joined, "scvi")))
}

test_that("on real batches the numbers are those of the joined object: stimulation", {
  skip_without_engine()
  skip_without_layers()
  file <- file.path(Sys.getenv("LATOME_DATA"), "robjects", "kang_muscat_subset.Seurat5_split_layers.rds")
  skip_if(!file.exists(file), "LATOME_DATA names no folder with the data")
  expect_same_as_joined(suppressMessages(SeuratObject::UpdateSeuratObject(readRDS(file))), "group_id")
})

test_that("on real batches the numbers are those of the joined object: technologies", {
  skip_without_engine()
  skip_without_layers()
  file <- file.path(Sys.getenv("LATOME_DATA"), "pbmc_3batch.h5ad")
  skip_if(!file.exists(file), "LATOME_DATA names no folder with the data")
  object <- latome_data("pbmc_3batch", as = "seurat", verbose = FALSE)
  object[["RNA"]] <- split(object[["RNA"]], f = object$batch)
  expect_same_as_joined(object, "batch")
})

test_that("the error of a verb that calls another shows no object", {
  skip_without_engine()
  object <- run_scvi(small_seurat(), training = quick(1), verbose = FALSE)
  error <- expect_error(add_differential_expression(object, group_by = "donor", ident_1 = "c"), "'c'")
  expect_lt(sum(nchar(format(error))), 2000)
  error <- expect_error(add_normalized_expression(object, "no such gene"), "no such gene")
  expect_lt(sum(nchar(format(error))), 2000)
})
