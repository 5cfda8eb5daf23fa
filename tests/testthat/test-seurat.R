test_that("missing assays and layers are errors that list what there is", {
  object <- small_seurat()
  expect_error(get_cells(object, assay = "RNAs"), "no assay 'RNAs'.*Did you mean 'RNA'", class = "latome_FieldError")
  expect_error(get_cells(object, layer = "raw"), "no layer 'raw'.*'counts'", class = "latome_FieldError")
  expect_error(get_cells(object, layer = "scale.data"), "no layer 'scale.data'.*'counts'")
})

test_that("values that are no counts are named by layer and by what was meant", {
  skip_if_not_installed("SeuratObject")
  object <- SeuratObject::pbmc_small
  run <- function(...) run_scvi(object, ..., verbose = FALSE)
  expect_error(run(layer = "data"), "Layer 'data' of assay 'RNA'.*look like normalised values.*layer = \"counts\"")
  expect_error(run(layer = "scale.data"), "Layer 'scale.data'.*negative.*scaled values or residuals")
})

test_that("an object of Seurat 5 under SeuratObject 4 is refused in words", {
  skip_if_not_installed("SeuratObject")
  skip_if(is_seurat5(), "SeuratObject reads Assay5")
  setClass("Assay5", representation("VIRTUAL"), where = environment())
  setClass("NewerAssay", contains = "Assay5", where = environment())
  object <- SeuratObject::pbmc_small
  object@assays <- list(RNA = new("NewerAssay"))
  expect_error(run_scvi(object), "made by Seurat 5.*cannot read it", class = "latome_FieldError")
})

test_that("an assay whose package is missing is named", {
  skip_if_not_installed("SeuratObject")
  object <- SeuratObject::pbmc_small
  attr(object@assays$RNA, "class") <- structure("ChromatinAssay", package = "no.such.package")
  expect_error(run_scvi(object), "'RNA' is a ChromatinAssay.*no.such.package, which is not installed",
    class = "latome_FieldError")
})

test_that("a name that is taken is refused before training: a reduction, an assay, a graph", {
  skip_if_not_installed("SeuratObject")
  for (name in c("pca", "RNA", "RNA_snn")) {
    expect_error(run_scvi(SeuratObject::pbmc_small, name = name),
      paste0("reduction \"", name, "\", and the name is taken.*another `name`"))
  }
})

test_that("a key that is taken is not drawn at random", {
  skip_if_not_installed("SeuratObject")
  object <- small_seurat()
  latent <- matrix(rnorm(120), 60, dimnames = list(colnames(object), NULL))
  expect_silent(object <- put_latent(object, latent, "rna", "RNA"))
  expect_equal(SeuratObject::Key(object[["rna"]]), "rna2_")
  expect_silent(object <- put_latent(object, latent[, 1, drop = FALSE], "rna", "RNA"))   # again: the same key
  expect_equal(colnames(SeuratObject::Embeddings(object, "rna")), "rna2_1")
})

test_that("a split assay of Seurat 5 trains as the joined one does", {
  skip_without_engine()
  skip_if_not_installed("SeuratObject", "5")
  run <- function(object) {
    run_scvi(object, batch = "donor", training = quick(), verbose = FALSE)
  }
  joined <- small_seurat()
  divided <- joined
  divided[["RNA"]] <- split(joined[["RNA"]], f = joined$donor)
  expect_setequal(SeuratObject::Layers(divided), c("counts.a", "counts.b"))
  divided <- run(divided)
  expect_identical(SeuratObject::Embeddings(divided, "scvi"), SeuratObject::Embeddings(run(joined), "scvi"))
  expect_equal(unname(latent_representation(divided[, 31:40])),
    unname(SeuratObject::Embeddings(divided, "scvi")[31:40, ]), tolerance = 1e-5)
})

test_that("split layers are bound by name, whatever their genes and order", {
  counts <- small_counts()
  blocks <- list(counts[30:1, 31:60], counts[-3, 30:1])
  join <- function(blocks) join_blocks(blocks, colnames(counts), rownames(counts), "RNA", "counts", NULL)
  bound <- as_counts(join(blocks), "the layers", NULL)
  expected <- counts
  expected["gene3", 1:30] <- 0
  expect_equal(as.matrix(bound), as.matrix(expected))
  expect_error(join(blocks[1]), "30 cells.*in no layer")
  expect_equal(join(list(counts[, 60:1])), counts)
})

test_that("results are where Seurat looks for them", {
  skip_without_engine()
  object <- run_scvi(small_seurat(), batch = "donor", n_latent = 4, training = quick(), verbose = FALSE)
  reduction <- object[["scvi"]]
  expect_equal(SeuratObject::Key(reduction), "scvi_")
  expect_equal(SeuratObject::DefaultAssay(reduction), "RNA")
  expect_equal(rownames(reduction[[]]), colnames(object))
  expect_equal(colnames(SeuratObject::Embeddings(reduction)), paste0("scvi_", 1:4))
  expect_equal(SeuratObject::Stdev(reduction), unname(apply(SeuratObject::Embeddings(reduction), 2, sd)))
  expect_s3_class(SeuratObject::Misc(object, "latome")$models$scvi, "latome_model")
  command <- object@commands[["run_scvi.RNA"]]
  expect_equal(command@params$batch, "donor")
  expect_true(all(vapply(command@params, is.atomic, NA)))
  expect_lt(object.size(command), 50000)
})

test_that("two models live side by side, and one may be trained again", {
  skip_without_engine()
  object <- run_scvi(small_seurat(), training = quick(), verbose = FALSE)
  object <- run_scvi(object, n_latent = 3, name = "small.2", training = quick(), verbose = FALSE)
  expect_silent(object <- run_scvi(object, n_latent = 5, training = quick(), verbose = FALSE))
  expect_setequal(names(get_models(object)), c("scvi", "small.2"))
  expect_equal(get_model(object, "scvi")$settings$n_latent, 5)
  expect_equal(ncol(SeuratObject::Embeddings(object, "small.2")), 3)
})

test_that("Seurat's own functions use what was written", {
  skip_without_engine()
  skip_if_not_installed("Seurat")
  skip_if_not_installed("uwot")
  object <- run_scvi(SeuratObject::pbmc_small, batch = "groups", training = quick(), verbose = FALSE)
  object <- Seurat::FindNeighbors(object, reduction = "scvi", dims = 1:10, verbose = FALSE)
  expect_true("RNA_snn" %in% names(object@graphs))
  object <- suppressWarnings(Seurat::RunUMAP(object, reduction = "scvi", dims = 1:10, umap.method = "uwot",
    n.neighbors = 10, verbose = FALSE))
  expect_equal(dim(object[["umap"]]), c(80, 2))
  expect_s3_class(Seurat::DimPlot(object, reduction = "scvi"), "ggplot")
  expect_s3_class(Seurat::DimPlot(object, reduction = "umap"), "ggplot")
})
