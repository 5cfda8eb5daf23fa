test_that("cells are matched by name, whichever are asked about and in whatever order", {
  fit <- trained()
  counts <- small_counts()
  some <- c(40, 3, 17)
  latent <- latent_representation(counts[30:1, some], model = fit, coldata = small_coldata())
  expect_equal(rownames(latent), colnames(counts)[some])
  expect_equal(latent, fit$latent[some, ], tolerance = 1e-5)
  expect_identical(latent_representation(fit), fit$latent)
})

test_that("an object that was subset answers for the cells it holds", {
  skip_without_engine()
  object <- run_scvi(small_seurat(), batch = "donor", training = quick(), verbose = FALSE)
  part <- object[, c("cell7", "cell2")]
  latent <- latent_representation(part)
  expect_equal(unname(latent), unname(SeuratObject::Embeddings(object, "scvi")[rownames(latent), ]), tolerance = 1e-5)
})

test_that("a draw is not the mean", {
  fit <- trained()
  draw <- latent_representation(small_counts(), model = fit, give_mean = FALSE, coldata = small_coldata())
  expect_false(isTRUE(all.equal(draw, fit$latent)))
  expect_equal(dim(draw), dim(fit$latent))
})

bad_questions <- list(
  "missing genes" = list(quote(latent_representation(counts[1:20, ], model = fit, coldata = coldata)),
    "10 of the 30 genes.*not in the data: 'gene21'", "latome_QueryError"),
  "missing column" = list(quote(latent_representation(counts, model = fit)), "no column 'donor'.*coldata",
    "latome_FieldError"),
  "unknown batch" = list(quote(latent_representation(counts, model = fit, coldata = strange)), "not trained on: 'c'",
    "latome_FieldError"),
  "no data" = list(quote(latent_representation(fit, model = fit)), "about data.*latent_representation\\(object",
    "latome_QueryError"),
  "no model" = list(quote(latent_representation(counts)), "no model of latome", "latome_QueryError"),
  "typo" = list(quote(latent_representation(counts, model = fit, give_mena = TRUE)), 
    "Unknown argument 'give_mena'.*'give_mean'", "latome_SettingError"),
  "normalised" = list(quote(latent_representation(log1p(counts), model = fit, coldata = coldata)), "not whole numbers",
    "latome_FieldError")
)
for (case in names(bad_questions)) {
  test_that(paste("bad question:", case), {
    fit <- trained()
    counts <- small_counts()
    coldata <- small_coldata()
    strange <- transform(coldata, donor = sub("b", "c", donor))
    expect_error(eval(bad_questions[[case]][[1]]), bad_questions[[case]][[2]], class = bad_questions[[case]][[3]])
  })
}
