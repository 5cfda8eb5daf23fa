test_that("the generated face is fresh", {
  generator <- test_path("..", "..", "tools", "make_face.py")
  skip_if_not(file.exists(generator), "not a checkout: tools/make_face.py is not here")
  skip_without_engine()
  python <- find_python()$path
  output <- suppressWarnings(system2(python, c(shQuote(generator), "--check"), stdout = TRUE, stderr = TRUE,
    env = clean_environment()))
  expect_null(attr(output, "status"), info = paste(output, collapse = "\n"))
})

test_that("every setting of every model of the engine is an argument of its run_*()", {
  skip_without_engine()
  describe <- reticulate::import_from_path("latome.describe", engine_folder())
  expect_true(all(c("scvi", "ldvae", "scanvi", "autozi", "solo", "cellassign") %in% describe$models()))
  for (kind in describe$models()) {
    settings <- vapply(describe$describe_model(kind)$settings, function(s) s$name, "")
    run <- getExportedValue("latome", paste0("run_", kind))
    expect_true(all(settings %in% names(formals(run))), info = kind)
    expect_equal(formals(run)$name, kind)
  }
})

test_that("the defaults of training are those of the model", {
  usual <- training_options()
  of <- function(run) {
    options <- eval(formals(run)$training)
    options[!mapply(identical, options, usual)]
  }
  expect_equal(unclass(of(run_scvi)), list(), ignore_attr = TRUE)
  expect_equal(of(run_solo)[c("max_epochs", "early_stopping_patience")], list(max_epochs = 400L, early_stopping_patience = 30L))
  expect_equal(of(run_cellassign)[c("lr", "batch_size", "weight_decay")],
    list(lr = 0.01, batch_size = 1024L, weight_decay = 1e-10), ignore_attr = TRUE)
})
