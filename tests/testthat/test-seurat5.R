# What every verb writes into an object of Seurat 5, joined and split, and what Seurat makes of it.
seurat5_objects <- function() {
  skip_if_not_installed("SeuratObject", "5")
  joined <- typed_seurat()
  joined <- SeuratObject::SetAssayData(joined, layer = "data", new.data = log1p(typed()$counts))
  divided <- joined
  divided[["RNA"]] <- split(joined[["RNA"]], f = joined$donor)
  list(joined = joined, split = divided)
}

each_object <- function(test) for (object in seurat5_objects()) test(object)

latent <- function(object, name) SeuratObject::Embeddings(object, name)

test_that("the assays here are those of Seurat 5", {
  each_object(function(object) expect_s4_class(object[["RNA"]], "Assay5"))
  expect_setequal(SeuratObject::Layers(seurat5_objects()$split), c("counts.a", "counts.b", "data.a", "data.b"))
})

test_that("models with a latent write a reduction, and the layers stay as they were", {
  skip_without_engine()
  each_object(function(object) {
    before <- object[["RNA"]]
    object <- run_scvi(object, batch = "donor", training = quick(1), verbose = FALSE)
    object <- run_ldvae(object, batch = "donor", training = quick(1), verbose = FALSE)
    object <- run_scanvi(object, "some", batch = "donor", training = quick(1), verbose = FALSE)
    expect_identical(object[["RNA"]], before)
    expect_setequal(SeuratObject::Reductions(object), c("scvi", "ldvae", "scanvi"))
    expect_equal(dim(SeuratObject::Loadings(object, "ldvae")), c(40, 10))
    expect_true(methods::validObject(object))

    expect_s4_class(object[["prediction.score.scanvi"]], "Assay")
    scores <- SeuratObject::GetAssayData(object[["prediction.score.scanvi"]], layer = "data")
    expect_equal(unname(colSums(scores)), rep(1, 90), tolerance = 1e-5)
    expect_setequal(levels(object$predicted.scanvi), c("T", "Mono", "B"))
    expect_true("run_scanvi.RNA" %in% SeuratObject::Command(object))
    expect_setequal(names(get_models(object)), c("scvi", "ldvae", "scanvi"))
  })
})

test_that("models of genes, doublets and markers write columns", {
  skip_without_engine()
  each_object(function(object) {
    object <- run_autozi(object, batch = "donor", training = quick(1), verbose = FALSE)
    genes <- object[["RNA"]][[]]
    columns <- grep("^autozi[.]", colnames(genes), value = TRUE)
    expect_gt(length(columns), 0)
    expect_true(all(is.finite(genes[[columns[[1]]]])))
    expect_equal(rownames(genes), rownames(object))

    object <- run_solo(object, batch = "donor", training = quick(1), model_training = quick(1), verbose = FALSE)
    expect_true(all(is.finite(object$solo.score)))
    object <- run_cellassign(object, typed()$markers, training = quick(1), verbose = FALSE)
    expect_false(anyNA(object$cellassign.label))
    expect_setequal(rownames(object[["prediction.score.cellassign"]])[1:3], c("B", "Mono", "T"))
    expect_true(methods::validObject(object))
  })
})

test_that("both kinds of object give the same numbers", {
  skip_without_engine()
  objects <- lapply(seurat5_objects(), run_scanvi, labels = "some", batch = "donor", training = quick(2),
    verbose = FALSE)
  expect_identical(latent(objects$joined, "scanvi"), latent(objects$split, "scanvi"))
  expect_identical(objects$joined$predicted.scanvi, objects$split$predicted.scanvi)
  tables <- lapply(objects, differential_expression, group_by = "truth", ident_1 = "B", n_samples = 100)
  expect_identical(tables$joined, tables$split)
  values <- lapply(objects, normalized_expression, features = c("gene1", "gene9"))
  expect_identical(values$joined, values$split)
})

test_that("queries are mapped, and what is added is an assay or a table", {
  skip_without_engine()
  each_object(function(object) {
    reference <- run_scvi(object[, object$donor == "a"], training = quick(1), for_mapping = TRUE, verbose = FALSE)
    mapped <- map_query(object[, object$donor == "b"], reference, batch = "donor", training = quick(1), verbose = FALSE)
    expect_equal(rownames(latent(mapped, "scvi")), colnames(mapped))

    object <- run_scvi(object, batch = "donor", training = quick(1), verbose = FALSE)
    object <- add_normalized_expression(object, c("gene1", "gene2"), verbose = FALSE)
    expect_equal(as.matrix(SeuratObject::GetAssayData(object[["scvi_expression"]], layer = "data")),
      as.matrix(normalized_expression(object, features = c("gene1", "gene2"))), ignore_attr = TRUE)
    object <- add_differential_expression(object, group_by = "truth", ident_1 = "T", n_samples = 50, verbose = FALSE)
    expect_equal(nrow(get_de(object)), 40)
    expect_true(methods::validObject(object))
  })
})

test_that("without counts the other layers stay, and the model answers", {
  skip_without_engine()
  each_object(function(object) {
    object <- run_scvi(object, batch = "donor", training = quick(1), verbose = FALSE)
    slim <- minify_counts(object, verbose = FALSE)
    expect_length(grep("^counts", SeuratObject::Layers(slim)), 0)
    expect_setequal(SeuratObject::Layers(slim), grep("^data", SeuratObject::Layers(object), value = TRUE))
    expect_equal(unname(latent_representation(slim)), unname(latent(object, "scvi")), tolerance = 1e-5)
    expect_true(methods::validObject(slim))
  })
})

test_that("Seurat's own functions use what was written", {
  skip_without_engine()
  skip_if_not_installed("Seurat", "5")
  skip_if_not_installed("uwot")
  each_object(function(object) {
    object <- run_scanvi(object, "some", batch = "donor", training = quick(2), verbose = FALSE)
    object <- add_normalized_expression(object, "gene1", verbose = FALSE)
    object <- Seurat::FindNeighbors(object, reduction = "scanvi", dims = 1:10, verbose = FALSE)
    object <- Seurat::FindClusters(object, verbose = FALSE)
    object <- suppressWarnings(Seurat::RunUMAP(object, reduction = "scanvi", dims = 1:10, n.neighbors = 10,
      verbose = FALSE))
    expect_equal(dim(object[["umap"]]), c(90, 2))
    drawn <- function(plot) expect_no_error(ggplot2::ggplot_build(plot))
    drawn(Seurat::DimPlot(object, reduction = "umap", group.by = "predicted.scanvi"))
    drawn(Seurat::FeaturePlot(object, "scanviexpression_gene1", reduction = "umap"))
    drawn(Seurat::FeaturePlot(object, "predicted.scanvi.score", reduction = "umap"))
    part <- subset(object, cells = colnames(object)[1:30])
    expect_equal(get_model(part)$kind, "scanvi")
  })
})

test_that("the default assay of SCTransform() is refused, another is named", {
  skip_if_not_installed("Seurat")
  object <- small_seurat()
  made <- SeuratObject::CreateAssayObject(counts = small_counts())
  made@data <- log1p(small_counts())
  object[["SCT"]] <- made
  object@assays$SCT <- methods::new("SCTAssay", object[["SCT"]])
  SeuratObject::DefaultAssay(object) <- "SCT"
  expect_error(run_scvi(object), "made by SCTransform\\(\\).*assay = \"RNA\"", class = "latome_FieldError")
  expect_equal(get_cells(object, assay = "SCT")$assay, "SCT")
  expect_error(run_scvi(object, assay = "SCT", layer = "data", verbose = FALSE), "SCTransform residuals")
})

test_that("what was there before is there after, in every slot", {
  skip_without_engine()
  each_object(function(before) {
    before[["pca"]] <- SeuratObject::CreateDimReducObject(
      matrix(1, 90, 2, dimnames = list(colnames(before), c("PC_1", "PC_2"))), key = "PC_", assay = "RNA")
    SeuratObject::Misc(before, "mine") <- 1:3
    after <- run_scanvi(before, "some", batch = "donor", training = quick(1), verbose = FALSE)
    expect_identical(after[["RNA"]], before[["RNA"]])
    expect_identical(after[["pca"]], before[["pca"]])
    expect_identical(after[[]][colnames(before[[]])], before[[]])
    expect_identical(SeuratObject::Idents(after), SeuratObject::Idents(before))
    expect_identical(SeuratObject::Misc(after, "mine"), 1:3)
    expect_identical(SeuratObject::DefaultAssay(after), SeuratObject::DefaultAssay(before))
    expect_identical(colnames(after), colnames(before))
  })
})
