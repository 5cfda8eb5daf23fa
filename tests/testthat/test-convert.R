test_that("vectors cross as arrays, single strings as lists, nothing as a dict", {
  expect_identical(as_numpy(c(1.5, 2)), array(c(1.5, 2)))
  expect_identical(as_python_strings("one"), list("one"))
  expect_identical(as_python_strings(c("a", "b")), c("a", "b"))
  skip_without_engine()
  skip_if_process()
  engine()
  array <- reticulate::r_to_py(list(x = as_numpy(c(1.5, 2)), one = as_numpy(1L)))
  expect_s3_class(array[["x"]], "numpy.ndarray")
  expect_equal(as.vector(reticulate::py_to_r(array[["x"]])), c(1.5, 2))
  expect_s3_class(array[["one"]], "numpy.ndarray")
  expect_s3_class(reticulate::r_to_py(as_python_dict(list())), "python.builtin.dict")
})

test_that("names in other alphabets and of one cell or gene survive", {
  skip_without_engine()
  skip_if_process()
  counts <- small_counts(3, 4)
  rownames(counts) <- c("\u03b1-gene", "gene b", "HLA-DRA")
  expect_equal(reticulate::py_to_r(as_anndata(counts)$var_names$tolist()), rownames(counts))
  one <- to_anndata(counts[1, 1, drop = FALSE])
  expect_equal(unlist(reticulate::py_to_r(one$shape)), c(1, 1))
})

test_that("two million values cross without a transposed or dense copy", {
  skip_without_engine()
  skip_if_process()
  counts <- withr::with_seed(1, Matrix::rsparsematrix(2000, 20000, nnz = 2e6, rand.x = function(n) rpois(n, 3) + 1))
  dimnames(counts) <- list(paste0("g", 1:2000), paste0("c", 1:20000))
  to_anndata(small_counts())                     # what is loaded once is not part of the measure
  memory <- reticulate::import("tracemalloc")    # numpy reports its arrays to it
  memory$start()
  withr::defer(memory$stop())
  vectors <- function(full) sum(gc(reset = full)["Vcells", if (full) "used" else "max used"]) * 8 / 1024^2
  before <- vectors(TRUE)
  seconds <- system.time(adata <- to_anndata(counts))[["elapsed"]]
  in_r <- vectors(FALSE) - before
  in_python <- memory$get_traced_memory()[[2]] / 1024^2
  # x and i are 23 MB, and R copies them once; a transposed copy would be 23 MB more, a dense one 305 MB
  expect_lt(in_r, 23 + 10)
  expect_lt(in_python, 10)
  expect_lt(seconds, 5)
  expect_equal(reticulate::py_to_r(adata$X$sum()), sum(counts))
  expect_false(reticulate::py_to_r(adata$X$data$flags$owndata))
})
