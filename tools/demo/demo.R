# The demonstration behind `make demo`: train scVI through the R package, say how much of the truth came out,
# and draw it. Without DATA it runs on simulated cells, whose truth is known, and on SeuratObject's pbmc_small.

for (file in c("data.R", "metrics.R", "figure.R")) source(file.path("tools/demo", file))
suppressPackageStartupMessages(library(latome))

MOST_STEPS <- 4000        # gradient steps that a demonstration may take
MOST_CELLS <- 6000       # cells that are measured and drawn

say <- function(...) cat(..., "\n", sep = "")
with_commas <- function(n) format(n, big.mark = ",", trim = TRUE)

# The default number of epochs, unless it would take more than MOST_STEPS.
epochs_for <- function(n_cells, wanted) {
  if (nzchar(wanted)) {
    epochs <- suppressWarnings(as.integer(wanted))
    if (is.na(epochs) || epochs < 1) {
      stop_demo(paste0("EPOCHS is '", wanted, "'."), "give EPOCHS a whole number, at least 1.")
    }
    return(epochs)
  }
  usual <- min(round(20000 / n_cells * 400), 400)
  epochs <- min(usual, max(10, floor(MOST_STEPS / ceiling(0.9 * n_cells / 128))))
  if (epochs < usual) {
    say("Trains for ", epochs, " epochs, to be quick, where the default is ", usual, ". EPOCHS=<number> changes it.")
  }
  as.integer(epochs)
}

# What one does without a model: the leading components of scaled log counts, of the same genes.
pca_of <- function(counts, n_components) {
  logged <- Matrix::t(counts) * (1e4 / pmax(Matrix::colSums(counts), 1))
  logged@x <- log1p(logged@x)
  n <- nrow(logged)
  deviation <- sqrt((Matrix::colSums(logged^2) - n * Matrix::colMeans(logged)^2) / (n - 1))
  varies <- deviation > 1e-6
  scaled <- logged[, varies] %*% Matrix::Diagonal(x = 1 / deviation[varies])   # irlba's own scaling goes gene by gene
  set.seed(1)
  irlba::prcomp_irlba(scaled, n = n_components, center = TRUE)$x
}

train_scvi <- function(object, batch, epochs) {
  run_scvi(
    object,
    batch = if (nzchar(batch)) batch,
    features = if (nrow(object) <= 4000) "all",
    training = training_options(max_epochs = epochs, n_epochs_kl_warmup = max(1L, epochs %/% 2L))
  )
}

# Train, measure and draw; the object with its model is returned.
show <- function(object, title, batch, labels, epochs, figure) {
  batches <- column_of(object, batch, "BATCH")
  types <- column_of(object, labels, "LABELS")
  say("\n== ", title, ": ", with_commas(ncol(object)), " cells x ", with_commas(nrow(object)), " genes, a ", class(object)[1])
  object <- train_scvi(object, batch, epochs_for(ncol(object), epochs))
  fit <- get_model(object)
  latent <- latent_representation(object)

  known <- if (is.null(types)) seq_len(nrow(latent)) else which(!is.na(types))
  set.seed(1)
  cells <- if (length(known) > MOST_CELLS) sort(sample(known, MOST_CELLS)) else known
  if (length(cells) < nrow(latent)) say("Measured and drawn: ", with_commas(length(cells)), " cells.")
  spaces <- list("PCA of log counts" = pca_of(counts_of(object)[fit$genes, cells], ncol(latent)), "scVI" = latent[cells, ])
  batches <- if (!is.null(batches)) droplevels(batches[cells])
  types <- if (!is.null(types)) droplevels(types[cells])
  measured <- do.call(cbind, lapply(spaces, measure, batch = batches, labels = types))
  if (!is.null(measured)) print(round(measured, 3))

  columns <- stats::setNames(list(types, batches), c(labels, batch))
  drawn <- demo_figure(spaces, columns, labels, measured, plot(fit), title)
  ggplot2::ggsave(figure, drawn, width = 8, height = 5.6, dpi = 130, bg = "white")
  say("Figure: ", figure)
  invisible(object)
}

# What a Seurat user does next, on what run_scvi() wrote.
go_on_with_seurat <- function(object, figure) {
  object <- Seurat::FindNeighbors(object, reduction = "scvi", dims = 1:10, verbose = FALSE)
  object <- Seurat::FindClusters(object, verbose = FALSE)
  object <- suppressWarnings(Seurat::RunUMAP(object, reduction = "scvi", dims = 1:10, n.neighbors = 15, verbose = FALSE))
  plot <- Seurat::DimPlot(object, reduction = "umap", group.by = c("seurat_clusters", "RNA_snn_res.1"))
  ggplot2::ggsave(figure, plot, width = 8, height = 3.5, dpi = 110, bg = "white")
  say("FindNeighbors, FindClusters, RunUMAP and DimPlot took reduction 'scvi'. Figure: ", figure)
}

main <- function() {
  given <- function(name) trimws(Sys.getenv(paste0("LATOME_DEMO_", name)))
  dir.create("results", showWarnings = FALSE)
  if (nzchar(given("DATA"))) {
    show(read_object(given("DATA")), basename(given("DATA")), given("BATCH"), given("LABELS"), given("EPOCHS"),
         "results/demo.png")
    return(invisible())
  }
  if (nzchar(given("BATCH")) || nzchar(given("LABELS"))) {
    stop_demo("BATCH and LABELS are columns of a file of yours.", "give the file as well: DATA=<h5ad or rds>.")
  }
  epochs <- if (nzchar(given("EPOCHS"))) given("EPOCHS") else "100"
  show(simulated_object(), "Simulated cells", "batch", "cell_type", epochs, "results/demo.png")
  small <- suppressMessages(SeuratObject::UpdateSeuratObject(SeuratObject::pbmc_small))
  small <- show(small, "pbmc_small", "groups", "RNA_snn_res.1", given("EPOCHS"), "results/demo_pbmc_small.png")
  go_on_with_seurat(small, "results/demo_pbmc_small_seurat.png")
}

began <- Sys.time()
tryCatch(
  {
    main()
    say("\nDone in ", round(as.numeric(Sys.time() - began, units = "secs")), " s.")
  },
  error = function(e) {
    message("\nStopped: ", trimws(conditionMessage(e)))
    quit(status = 1)
  }
)
