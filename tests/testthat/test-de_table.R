# A table as the engine makes it, of two comparisons.
table <- data.frame(
  gene = c("g1", "g2", "g3", "g2", "g1", "g3"), group1 = rep(c("B", "T"), each = 3), group2 = "Rest",
  prob_de = c(0.99, 0.6, 0.2, 0.9, 0.9, 0.1), prob_not_de = c(0.01, 0.4, 0.8, 0.1, 0.1, 0.9), bayes_factor = 1,
  lfc_mean = c(2, -1, 0.1, -3, 1, 0), lfc_median = c(2, -1, 0.1, -3, 1, 0), pct_1 = 0.5, pct_2 = 0.25,
  fdr = c(0.01, 0.2, 0.4, 0.1, 0.1, 0.37), is_de = c(TRUE, FALSE, FALSE, FALSE, FALSE, FALSE)
)
one <- table[table$group1 == "B", ]

test_that("the format of Seurat is that of FindMarkers, and of FindAllMarkers", {
  found <- format_de(one, "seurat")
  expect_named(found, c("p_val", "avg_log2FC", "pct.1", "pct.2", "p_val_adj"))
  expect_equal(rownames(found), c("g1", "g2", "g3"))
  expect_equal(found$p_val, one$prob_not_de)
  expect_equal(found$p_val_adj, one$fdr)
  all <- format_de(table, "seurat")
  expect_named(all, c("p_val", "avg_log2FC", "pct.1", "pct.2", "p_val_adj", "cluster", "gene"))
  expect_equal(levels(all$cluster), c("B", "T"))
  expect_equal(all$gene[4:6], c("g1", "g2", "g3"))                     # ties: the higher one first, as there
  expect_equal(anyDuplicated(rownames(all)), 0)
  skip_if_not_installed("Seurat")
  object <- suppressWarnings(SeuratObject::pbmc_small)
  theirs <- suppressWarnings(Seurat::FindMarkers(object, ident.1 = "0", ident.2 = "1", verbose = FALSE))
  expect_named(found, names(theirs))
  theirs <- suppressMessages(suppressWarnings(Seurat::FindAllMarkers(object, verbose = FALSE)))
  expect_named(all, names(theirs))
})

test_that("the format of Bioconductor has no p-values", {
  skip_if_not_installed("S4Vectors")
  found <- format_de(one, "bioc")
  expect_s4_class(found, "DataFrame")
  expect_equal(colnames(found), c("logFC", "PostProb", "FDR"))
  expect_equal(rownames(found), one$gene)
  expect_equal(colnames(format_de(table, "bioc"))[1:3], c("gene", "group1", "group2"))
})

test_that("tables are kept beside the models, by name, in either object", {
  fit <- trained()
  for (object in list(small_seurat(), small_sce())) {
    object <- put_model(object, fit, "scvi")
    expect_error(get_de(object), "no table of differential expression.*add_differential", class = "latome_QueryError")
    object <- add_differential_expression(object, group_by = "donor", ident_1 = "a", n_samples = 100, verbose = FALSE)
    expect_equal(get_de(object), differential_expression(object, group_by = "donor", ident_1 = "a", n_samples = 100))
    expect_message(object <- add_differential_expression(object, cells_1 = 1:5, n_samples = 100, name = "few"),
      "Sets: table \"few\"")
    expect_error(get_de(object), "2 tables.*'de', 'few'", class = "latome_QueryError")
    expect_error(get_de(object, "fow"), "no table 'fow'.*Did you mean 'few'", class = "latome_QueryError")
    expect_named(get_de(object, "few", format = "seurat"), c("p_val", "avg_log2FC", "pct.1", "pct.2", "p_val_adj"))
    expect_identical(get_model(object), fit)
    expect_identical(get_de(object[, 1:10], "de"), get_de(object, "de"))
  }
  expect_equal(S4Vectors::metadata(object)$latome$de$few, get_de(object, "few"))
  expect_error(add_differential_expression(small_counts(), model = fit), "into a Seurat object")
  expect_error(add_differential_expression(object, format = "seurat"), "Unknown argument 'format'")
})

test_that("the volcano is finite, in every format", {
  skip_if_not_installed("ggplot2")
  for (format in c("latome", "seurat", "bioc")) {
    drawn <- plot_volcano(format_de(table, format), fdr = 0.05)
    expect_s3_class(ggplot2::ggplot_build(drawn), "ggplot_built")
    expect_true(all(is.finite(drawn$data$height)))
    expect_equal(sort(drawn$data$height), sort(-log10(table$prob_not_de)))
    expect_equal(sum(drawn$data$change == "up"), 1)
  }
  expect_equal(nrow(ggplot2::layer_data(plot_volcano(one, label = c("g2", "g3")), 2)), 2)
  expect_error(plot_volcano(one, label = "g9"), "no gene 'g9'", class = "latome_QueryError")
  expect_error(plot_volcano(data.frame(a = 1)), "no table of differential_expression.*'a'", class = "latome_QueryError")
  expect_error(plot_volcano(small_sce()), "no table", class = "latome_QueryError")
})
