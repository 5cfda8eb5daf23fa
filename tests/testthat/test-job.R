# What a cluster would do: the command line of the engine, in a process of its own.
run_job <- function(folder, verb = "train", ...) {
  skip_if_not_installed("processx")
  environment <- c("current", PYTHONPATH = system.file("python", package = "latome"), LD_LIBRARY_PATH = "",
    OMP_NUM_THREADS = "1", LATOME_KERNELS_LIBRARY = kernels_library() %||% "")      # the engine here has these too
  processx::run(reticulate::py_exe(), c("-m", "latome", verb, folder, ...), env = environment, error_on_status = FALSE)
}

job_of_matrix <- function(folder, ...) {
  write_job(small_counts(), folder, batch = "donor", coldata = small_coldata(), training = quick(), verbose = FALSE, ...)
}

test_that("a job gives what the verb gives", {
  skip_without_engine()
  folder <- withr::local_tempfile()
  said <- capture_messages(write_job(small_counts(), folder, batch = "donor", coldata = small_coldata(), groups = "type",
    training = quick(), name = "cloud"))
  expect_match(said[[2]], "60 cells x 30 genes.*latome train .*torchrun.*latome train .*read_job")
  expect_match(run_job(folder)$stdout, "60 cells x 30 genes, it is done \\(epoch 3 of 3\\)")
  fit <- read_job(small_counts(), folder)
  store <- prepare_store(small_counts(), withr::local_tempfile(), coldata = small_coldata())
  direct <- run_scvi(store, batch = "donor", training = quick(), verbose = FALSE)
  expect_equal(fit$latent, direct$latent, tolerance = 1e-3)
  expect_equal(fit$history, direct$history, tolerance = 1e-4)
  expect_equal(fit$genes, direct$genes)
  expect_equal(fit$levels, direct$levels)
  expect_equal(fit$latent, latent_representation(small_counts(), fit, coldata = small_coldata()), tolerance = 1e-4)

  expect_equal(run_job(folder, "de", "--n-samples-overall", "200")$status, 0)
  sce <- small_sce()
  expect_message(expect_message(sce <- read_job(sce, folder), "CLOUD"), "table \"cloud\"")
  expect_equal(SingleCellExperiment::reducedDim(sce, "CLOUD"), fit$latent, ignore_attr = TRUE)
  expect_identical(get_model(sce, "cloud")$weights, fit$weights)
  table <- get_de(sce, "cloud")
  expect_equal(unique(table$group1), c("x", "y"))
  expect_equal(nrow(table), 60)
  expect_type(table$prob_de, "double")
  expect_type(table$is_de, "logical")
  expect_equal(names(table)[1:4], c("gene", "group1", "group2", "prob_de"))
})

test_that("results go into the object that the job was written from, matched by name", {
  skip_without_engine()
  seu <- small_seurat()
  folder <- withr::local_tempfile()
  write_job(seu, folder, batch = "donor", features = "all", training = quick(), verbose = FALSE)
  expect_error(read_job(seu, folder), "is not done: it has not begun", class = "latome_ArchiveError")
  expect_equal(run_job(folder)$status, 0)
  part <- seu[, c("cell7", "cell3", "cell50")]
  part <- read_job(part, folder, name = "far", verbose = FALSE)
  whole <- read_job(seu, folder, verbose = FALSE)
  latent <- SeuratObject::Embeddings(whole, "scvi")
  expect_equal(SeuratObject::Embeddings(part, "far"), latent[colnames(part), ], ignore_attr = TRUE)
  expect_equal(rownames(latent), colnames(seu))
  expect_equal(unname(latent), unname(latent_representation(whole)), tolerance = 1e-4)
  others <- small_counts()
  colnames(others) <- paste0("other", seq_len(ncol(others)))
  expect_error(read_job(others, folder), "60 of the 60 cells.*'other1'.*named like 'cell1'", class = "latome_QueryError")
})

test_that("new cells are mapped onto a model", {
  fit <- trained()
  new <- small_counts(n_cells = 20, seed = 5)
  coldata <- small_coldata(20)
  folder <- withr::local_tempfile()
  write_job(new, folder, model = fit, coldata = coldata, verbose = FALSE)
  expect_match(run_job(folder, "map")$stdout, "latent of 20 cells")
  mapped <- read_job(new, folder, verbose = FALSE)
  expect_equal(mapped$latent, latent_representation(new, fit, coldata = coldata), tolerance = 1e-4)
  expect_identical(mapped$genes, fit$genes)
  coldata$donor <- "elsewhere"
  expect_error(write_job(new, withr::local_tempfile(), model = fit, coldata = coldata), "elsewhere", class = "latome_error")
  expect_error(write_job(new, withr::local_tempfile(), model = fit, batch = "donor"), "Unknown argument 'batch'")
})

test_that("a store becomes a job", {
  skip_without_engine()
  store <- prepare_store(small_counts(), withr::local_tempfile(), coldata = small_coldata())
  folder <- withr::local_tempfile()
  write_job(store, folder, batch = "donor", features = paste0("gene", 5:25), groups = "type", training = quick(1),
    verbose = FALSE)
  expect_equal(run_job(folder)$status, 0)
  fit <- read_job(store, folder, verbose = FALSE)
  expect_equal(fit$genes, paste0("gene", 5:25))
  expect_equal(rownames(fit$latent), paste0("cell", 1:60))
  expect_error(write_job(store, withr::local_tempfile(), groups = "typ"), "no column 'typ'", class = "latome_FieldError")
})

test_that("bad arguments are told in the words of the verb, and nothing is written", {
  skip_without_engine()
  folder <- withr::local_tempfile()
  counts <- small_counts()
  expect_error(write_job(counts, folder, bach = "donor"), "Unknown argument 'bach'")
  expect_error(write_job(counts, folder, n_latent = 0), "`n_latent` must be")
  expect_error(write_job(counts, folder, model = "scvii"), "Did you mean 'scvi'")
  expect_error(write_job(counts, folder, batch = "donor"), "no column 'donor'", class = "latome_FieldError")
  expect_error(write_job(counts, folder, groups = "type", coldata = small_coldata()[, c("donor", "lane")]),
    "no column 'type' \\(groups\\)", class = "latome_FieldError")
  expect_error(write_job(counts * 0.5, folder, verbose = FALSE), "not whole numbers", class = "latome_FieldError")
  expect_error(read_job(counts, folder), "holds no job", class = "latome_ArchiveError")
  expect_error(read_job(counts, folder, nam = "x"), "Unknown argument 'nam'")
  expect_false(file.exists(folder))
  dir.create(folder)
  expect_error(job_of_matrix(folder), "exists already", class = "latome_ArchiveError")
  expect_length(list.files(folder, all.files = TRUE, no.. = TRUE), 0)
})

test_that("a job that is damaged or has failed says so", {
  skip_without_engine()
  folder <- withr::local_tempfile()
  job_of_matrix(folder, seed = 1L)
  request <- file.path(folder, "job.json")
  whole <- readLines(request, warn = FALSE)
  writeLines(sub("\"lr\": 0.001", "\"lr\": 1e+08", whole), request)
  ended <- run_job(folder)
  expect_equal(ended$status, 2)
  expect_match(ended$stderr, "infinite or NaN")
  expect_error(read_job(small_counts(), folder), "it has failed: The loss became infinite", class = "latome_ArchiveError")
  writeLines("{", request)
  expect_error(read_job(small_counts(), folder), "job.json is damaged", class = "latome_ArchiveError")
})
