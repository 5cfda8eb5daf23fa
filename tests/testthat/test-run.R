test_that("the generated face is fresh", {
  generator <- test_path("..", "..", "tools", "make_face.py")
  skip_if_not(file.exists(generator), "not a checkout: tools/make_face.py is not here")
  skip_without_engine()
  python <- find_python()$path
  output <- suppressWarnings(system2(python, c(shQuote(generator), "--check"), stdout = TRUE, stderr = TRUE,
    env = clean_environment()))
  expect_null(attr(output, "status"), info = paste(output, collapse = "\n"))
})

test_that("every setting of the engine is an argument of run_scvi()", {
  skip_without_engine()
  described <- reticulate::import_from_path("latome.describe", engine_folder())$describe_model("scvi")
  settings <- vapply(described$settings, function(s) s$name, "")
  expect_true(all(settings %in% names(formals(run_scvi))))
})
