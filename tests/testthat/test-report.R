skip_without_report <- function() {
  skip_without_engine()
  skip_if_not_installed("rmarkdown")
  skip_if_not_installed("ggplot2")
  skip_if_not(rmarkdown::pandoc_available("2.0"), "no pandoc")
}

# The text of a page, its headings and the number of its figures.
report_of <- function(..., file = withr::local_tempfile(fileext = ".html", .local_envir = parent.frame())) {
  path <- model_report(..., file = file, verbose = FALSE)
  testthat::expect_true(file.exists(path))
  lines <- readLines(path, warn = FALSE)
  html <- paste(lines, collapse = "\n")
  testthat::expect_false(grepl("<(script|img|link)[^>]*(src|href)=\"http", html))          # self-contained
  figures <- lengths(regmatches(html, gregexpr("data:image/", html, fixed = TRUE)))
  text <- gsub("<(style|script).*?</\\1>|<[^>]+>", " ", gsub("data:image[^\"]+", "", html), perl = TRUE)
  text <- gsub("[[:space:]]+", " ", text)
  headings <- regmatches(html, gregexpr("<h2[^>]*>[^<]*", html))[[1]]
  testthat::expect_false(grepl("Error|could not be made", text))
  list(text = text, figures = figures, headings = gsub("[[:space:]]+", " ", sub("<h2[^>]*>", "", headings)))
}

test_that("a report of a SingleCellExperiment has all that there is to say", {
  skip_without_report()
  object <- run_scvi(small_sce(), batch = "donor", training = quick(6), verbose = FALSE)
  object <- add_differential_expression(object, group_by = "donor", ident_1 = "a", n_samples = 200, verbose = FALSE)
  page <- report_of(object, title = "My *cells* & <others>", labels = "type")
  expect_equal(page$headings, c("Data", "Settings", "Training", "Latent space", "Latent dimensions",
    "Posterior predictive checks", "Differential expression", "Session"))
  expect_match(page$text, "60 cells and 30 genes in 2 batches")
  expect_match(page$text, "My *cells* &amp; &lt;others&gt;", fixed = TRUE)
  expect_match(page$text, "n_latent 10")
  expect_match(page$text, "By type|UMAP|principal components")
  expect_match(page$text, "R version")
  # counts, curve, map by batch and by label, dimensions, three checks, volcano
  expect_equal(page$figures, 9)
})

test_that("a report of a Seurat object, and of its subset, looks at few cells where told", {
  skip_without_report()
  object <- run_scvi(small_seurat(), batch = "donor", training = quick(), verbose = FALSE)
  page <- report_of(object[, 1:50], max_cells = 40)
  expect_match(page$text, "The data given hold 50 cells; this report looks at 40 of them")
  expect_true("Latent space" %in% page$headings)
})

test_that("a report of labels compares them with those given", {
  skip_without_report()
  cells <- typed()
  page <- report_of(cells$counts, labelled(), coldata = cells$coldata, labels = "truth")
  expect_true("Labels" %in% page$headings)
  expect_match(page$text, "expected calibration error")
  expect_match(page$text, "Calibration over 90 cells whose given label the model knows: accuracy (9\\d|100)\\.\\d%")
})

test_that("a model alone says what can be said without data", {
  skip_without_report()
  page <- report_of(trained())
  expect_match(page$text, "given without its data")
  expect_equal(page$headings, c("Data", "Settings", "Training", "Latent space", "Latent dimensions", "Session"))
  bare <- trained()
  bare$latent <- NULL
  expect_match(report_of(bare)$text, "cannot be shown without the data")
})

test_that("what has no latent space has no such sections", {
  skip_without_report()
  cells <- typed()
  fit <- run_cellassign(cells$counts, markers = cells$markers, training = quick(20), verbose = FALSE)
  page <- report_of(cells$counts, fit)
  expect_equal(page$headings, c("Data", "Settings", "Training", "Labels", "Session"))
  expect_match(page$text, "no given labels")
  object <- suppressWarnings(run_solo(small_seurat(), batch = "donor", training = quick(), model_training = quick(),
    verbose = FALSE), classes = "latome_warning")
  page <- report_of(object)
  expect_equal(page$headings, c("Data", "Settings", "Training", "Doublets", "Session"))
  expect_equal(page$headings, report_of(get_doublets(object))$headings)
})

test_that("a model that lacks genes in the data is reported with the reason", {
  skip_without_report()
  page <- report_of(small_counts()[1:20, ], trained(), coldata = small_coldata())
  expect_match(page$text, "cannot be asked about these data: 10 of the 30 genes")
})

test_that("the folder may be read-only, the random numbers of R stay, and one seed gives one map", {
  skip_without_report()
  file <- withr::local_tempfile(fileext = ".html")
  locked <- withr::local_tempdir()
  Sys.chmod(locked, "555")
  withr::defer(Sys.chmod(locked, "755"))
  withr::local_dir(locked)
  withr::local_seed(1)
  before <- .Random.seed
  report_of(trained(), file = file)
  expect_equal(.Random.seed, before)
  expect_length(list.files(locked), 0)
  latent <- trained()$latent
  expect_equal(latent_map(latent, 3), latent_map(latent, 3))
})

test_that("what stands in the way of a page is said before anything is computed", {
  skip_if_not_installed("rmarkdown")
  skip_if_not_installed("ggplot2")
  fit <- structure(list(), class = "latome_model")
  expect_error(model_report(fit, file = "report.pdf"), "must end in .html", class = "latome_SettingError")
  nowhere <- file.path(tempdir(), "nowhere", "a.html")
  expect_error(model_report(fit, file = nowhere), "no such folder", class = "latome_ArchiveError")
  expect_error(model_report(fit, titel = "a"), "titel.*Did you mean 'title'")
  withr::with_options(list(knitr.in.progress = TRUE), {
    expect_error(model_report(fit, file = tempfile(fileext = ".html")), "while another is knitted")
  })
})

test_that("pandoc is asked for by name", {
  skip_if_not_installed("rmarkdown")
  skip_if_not_installed("ggplot2")
  lines <- fresh_r(c(
    "Sys.setenv(PATH = '/nonexistent', RSTUDIO_PANDOC = '', HOME = '/nonexistent')",
    "fit <- structure(list(), class = 'latome_model')",
    "file <- tempfile(fileext = '.html')",
    "tryCatch(model_report(fit, file = file), latome_EngineError = function(e) cat(conditionMessage(e)))"
  ))
  expect_match(paste(lines, collapse = " "), "needs pandoc 2.0 or newer.*pandoc.org")
})

test_that("advice on training reads the curve", {
  epoch <- 1:100
  settled <- 500 + 100 * exp(-epoch / 5)
  expect_match(advice_on_curve(settled, epoch, "validation", FALSE), "levelled out")
  expect_match(advice_on_curve(settled, epoch, "validation", TRUE), "stopped early for that")
  falling <- 600 - epoch
  expect_match(advice_on_curve(falling, epoch, "train", FALSE), "train loss still fell by 19.0 nats.*Train for longer")
  rising <- 500 + abs(epoch - 40) / 5
  expect_match(advice_on_curve(rising, epoch, "validation", FALSE), "lowest at epoch 40.*by heart")
  expect_match(advice_on_curve(1:3, 1:3, "train", FALSE), "Too few epochs")
  noise <- withr::with_seed(1, 500 + rnorm(100))
  expect_match(advice_on_curve(noise, epoch, "validation", FALSE), "levelled out")
})

test_that("probabilities of labels are compared with how often they are right", {
  score <- rep(c(0.55, 0.95), c(20, 40))
  right <- c(rep(c(TRUE, FALSE), 10), rep(TRUE, 38), FALSE, FALSE)
  bins <- reliability(score, right)
  expect_equal(bins$n, c(20, 40))
  expect_equal(bins$right, c(0.5, 0.95))
  expect_true(all(bins$low < bins$right & bins$right < bins$high))
  expect_match(reliability_words(bins, FALSE), "accuracy 80.0%, expected calibration error 0.017")
})

test_that("cells that are looked at are spread evenly, without a period", {
  expect_equal(spread_out(5, 10, 1), 1:5)
  chosen <- spread_out(10000, 1000, 42)
  expect_length(unique(chosen), 1000)
  expect_true(all(abs(table(cut(chosen, seq(0, 10000, 1000))) - 100) <= 5))
  for (period in 2:12) expect_lt(max(abs(table(chosen %% period) / 1000 - 1 / period)), 0.03)
  expect_false(identical(chosen, spread_out(10000, 1000, 43)))
})

test_that("what is special in Markdown is escaped", {
  expect_equal(markdown_item("a_b*c|[d]<e>"), "a\\_b\\*c\\|\\[d\\]\\<e\\>")
  table <- markdown_item(data.frame(a_b = "x|y", n = 1))
  expect_equal(table, data.frame(`a\\_b` = "x\\|y", n = 1, check.names = FALSE))
})
