groups <- factor(c("B", "B", "T", "T", NA, "NK", "NK"), levels = c("T", "B", "NK", "none"))
find <- function(...) compare_groups(droplevels(groups), ..., call = NULL)

test_that("each group in turn is compared with the rest, cells without a group take no part", {
  found <- find(NULL, NULL)
  expect_equal(vapply(found, `[[`, "", "group1"), c("T", "B", "NK"))
  expect_equal(found[[2]], list(group1 = "B", group2 = "Rest", rows1 = 1:2, rows2 = c(3L, 4L, 6L, 7L)))
})

test_that("named groups are compared, several taken together", {
  expect_equal(find("T", "B"), list(list(group1 = "T", group2 = "B", rows1 = 3:4, rows2 = 1:2)))
  expect_equal(find(c("T", "B"), NULL), list(list(group1 = "T+B", group2 = "Rest", rows1 = 1:4, rows2 = 6:7)))
  expect_equal(vapply(find(NULL, "B"), `[[`, "", "group1"), c("T", "NK"))
  expect_equal(find("T", c("NK", "B"))[[1]]$rows2, c(1L, 2L, 6L, 7L))
})

test_that("cells are compared as they are given", {
  names <- letters[1:6]
  expect_equal(compare_cells(c("c", "a"), NULL, names, NULL),
    list(group1 = "cells_1", group2 = "Rest", rows1 = c(1L, 3L), rows2 = c(2L, 4L, 5L, 6L)))
  expect_equal(compare_cells(1:2, names == "f", names, NULL)$rows2, 6L)
  expect_error(compare_cells(1:2, 2:3, names, NULL), "1 cell in `cells_1` and in `cells_2`: 'b'")
  expect_error(compare_cells(1:6, NULL, names, NULL), "are all cells")
})

counts <- small_counts()
coldata <- small_coldata()
coldata$one <- "same"
coldata$list <- as.list(1:60)
ask_de <- function(...) differential_expression(counts, trained(), coldata = coldata, n_samples = 200, ...)
bad_comparisons <- list(
  "group typo" = list(quote(ask_de(group_by = "type", ident_1 = "xx")), "no group 'xx'.*Did you mean 'x'", "QueryError"),
  "second group typo" = list(quote(ask_de(group_by = "type", ident_1 = "x", ident_2 = "z")), "no group 'z'", "QueryError"),
  "in both" = list(quote(ask_de(group_by = "type", ident_1 = "x", ident_2 = c("x", "y"))), "'x' is in `ident_1` and",
    "QueryError"),
  "one group" = list(quote(ask_de(group_by = "one")), "All cells are of one group, 'same'", "QueryError"),
  "all groups" = list(quote(ask_de(group_by = "type", ident_1 = c("x", "y"))), "no other cells", "QueryError"),
  "no column" = list(quote(ask_de(group_by = "typ")), "no column 'typ' \\(group_by\\).*'type'", "FieldError"),
  "a list" = list(quote(ask_de(group_by = "list")), "'list' is a list", "FieldError"),
  "no groups" = list(quote(ask_de(ident_1 = "x")), "no groups to compare.*group_by", "QueryError"),
  "both ways" = list(quote(ask_de(group_by = "type", cells_1 = 1:3)), "`group_by` is given together", "SettingError"),
  "half a way" = list(quote(ask_de(cells_2 = 1:3)), "`cells_2` is given without", "SettingError"),
  "mode" = list(quote(ask_de(mode = "changes")), "mode.*Did you mean 'change'", "SettingError"),
  "delta" = list(quote(ask_de(group_by = "type", delta = -1)), "delta.*at least 0", "SettingError"),
  "fdr" = list(quote(ask_de(group_by = "type", fdr = 1)), "fdr.*below 1", "SettingError"),
  "credible" = list(quote(ask_de(group_by = "type", credible = 90)), "credible.*between 0 and 1", "SettingError"),
  "format" = list(quote(ask_de(group_by = "type", format = "sueat")), "format.*'seurat'", "SettingError"),
  "vanilla" = list(quote(ask_de(group_by = "type", mode = "vanilla", format = "seurat")), "no place for mode", "SettingError"),
  "batch" = list(quote(ask_de(group_by = "type", batch_1 = "c")), "no batch 'c'", "QueryError"),
  "typo" = list(quote(ask_de(group.by = "type")), "Unknown argument 'group.by'.*'group_by'", "SettingError")
)
for (case in names(bad_comparisons)) {
  test_that(paste("bad comparison:", case), {
    skip_without_engine()
    expect_error(eval(bad_comparisons[[case]][[1]]), bad_comparisons[[case]][[2]],
      class = paste0("latome_", bad_comparisons[[case]][[3]]))
  })
}

test_that("planted effects are found, with their sign, in every format", {
  skip_without_engine()
  counts <- small_counts(n_genes = 60, n_cells = 200)
  up <- paste0("gene", 1:5)
  counts[up, 1:100] <- counts[up, 1:100] + 25
  fit <- run_scvi(counts, n_latent = 4, training = quick(200, early_stopping = FALSE, lr = 5e-3, n_epochs_kl_warmup = 20),
    verbose = FALSE)
  found <- differential_expression(counts, fit, cells_1 = 1:100, seed = 1)
  expect_equal(names(found)[1:19], DE_COLUMNS)
  expect_setequal(utils::head(found$gene, 5), up)
  expect_true(all(found$is_de[1:5] & found$lfc_median[1:5] > 1))
  expect_true(all(found$lfc_low <= found$lfc_median & found$lfc_median <= found$lfc_high))
  expect_equal(found$mean_1, unname(Matrix::rowMeans(counts[found$gene, 1:100])))
  expect_equal(found$pct_2, unname(Matrix::rowMeans(counts[found$gene, 101:200] > 0)))
  expect_gte(min(found$prob_not_de), 1 / 5001)
  expect_equal(found$prob_de, 1 - found$prob_not_de)
  expect_identical(differential_expression(counts, fit, cells_1 = 1:100, seed = 1), found)
  reversed <- differential_expression(counts, fit, cells_1 = 101:200)
  expect_true(all(reversed$lfc_median[reversed$gene %in% up] < -1))
  expect_setequal(rownames(differential_expression(counts, fit, cells_1 = 1:100, format = "seurat"))[1:5], up)
})

test_that("groups are the object's own, those of a column, or cells: the same rows, the same table", {
  fit <- trained()
  object <- small_seurat()
  SeuratObject::Idents(object) <- "donor"
  sce <- small_sce()
  SingleCellExperiment::colLabels(sce) <- factor(sce$donor, c("a", "b", "none"))
  expected <- differential_expression(counts, fit, group_by = "donor", ident_1 = "a", coldata = coldata, n_samples = 100)
  expect_equal(differential_expression(object, fit, ident_1 = "a", n_samples = 100), expected)
  expect_equal(differential_expression(sce, fit, ident_1 = "a", n_samples = 100), expected)
  by_cells <- differential_expression(sce, fit, cells_1 = sce$donor == "a", n_samples = 100)
  expect_equal(by_cells[-(2:3)], expected[-(2:3)])
  shuffled <- differential_expression(object[, 60:1], fit, ident_1 = "a", n_samples = 100)
  expect_equal(shuffled$scale1[order(shuffled$gene)], expected$scale1[order(expected$gene)], tolerance = 0.1)
  expect_error(differential_expression(small_seurat(), fit), "All cells are of one group, 'SeuratProject'")
  all <- differential_expression(sce, fit, n_samples = 100)
  expect_equal(unique(all$group1), c("a", "b"))
})

test_that("every argument reaches the engine", {
  fit <- trained()
  ask <- function(...) ask_de(group_by = "type", ident_1 = "x", ident_2 = "y", ...)
  expect_equal(unique(ask(delta = 0.7)$delta), 0.7)
  expect_true(all(ask(delta = NULL)$delta >= 0.1))
  expect_equal(unique(ask(pseudocounts = 0.002)$pseudocounts), 0.002)
  expect_true(all(c("lfc_low_0.5", "lfc_high_0.5") %in% names(ask(credible = c(0.9, 0.5)))))
  by_gene <- function(found) found$prob_de[order(found$gene)]
  expect_true(all(by_gene(ask(test_mode = "two")) >= by_gene(ask()) - 1e-12))      # both directions, not one
  vanilla <- ask(mode = "vanilla")
  expect_equal(vanilla$prob_m1 + vanilla$prob_m2, rep(1, 30))
  expect_false(is.unsorted(-vanilla$bayes_factor))
  for (changed in list(ask(batch_correction = TRUE), ask(batch_1 = "a", batch_2 = "b"), ask(permutations = 500),
    ask(seed = 7), suppressWarnings(ask(weights = "importance", importance = list(n_mc_samples = 10))))) {
    expect_equal(dim(changed), c(30, 25))
    expect_false(isTRUE(all.equal(changed, ask())))
  }
  within <- ask_de(group_by = "type", cells = coldata$donor == "a")
  expect_equal(unique(within$group1), c("x", "y"))
  only <- differential_expression(counts[, 1:30], fit, group_by = "type", coldata = coldata, n_samples = 200)
  expect_equal(within$mean_1, only$mean_1)
})
