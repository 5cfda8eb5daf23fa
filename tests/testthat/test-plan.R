# Which way to the engine is taken, without starting any.

fit_python <- list(path = "/fit/python", how = "install_latome()")
unfit_python <- list(path = "/unfit/python", how = "already running in this session")

local_pythons <- function(found, running = FALSE, others = list(), fits = function(python, inside) TRUE,
                          .env = parent.frame()) {
  withr::local_options(latome.transport = "auto", .local_envir = .env)
  local_replaced(find_python = function(call) found, python_running = function() running,
    other_pythons = function(call) others, .env = .env,
    python_problem = function(python, inside = TRUE) {
      if (!fits(python, inside)) list(problem = paste(python$path, "is unfit."), hint = "Mend it.")
    })
}

test_that("inside R is the road", {
  local_pythons(fit_python)
  expect_equal(plan_engine(), list(transport = "in-process", python = fit_python, problem = NULL))
})

test_that("a Python that runs already and is unfit leaves a process of its own, where another is fit", {
  skip_if_not_installed("processx")
  fits <- function(python, inside) python$path == "/fit/python"
  local_pythons(unfit_python, running = TRUE, others = list(fit_python), fits = fits)
  plan <- plan_engine()
  expect_equal(plan[c("transport", "python", "reason")],
    list(transport = "process", python = fit_python, reason = "/unfit/python is unfit."))
  withr::local_options(latome.transport = "in-process")
  expect_equal(plan_engine()$problem$problem, "/unfit/python is unfit.")
  withr::local_options(latome.transport = "auto")
  local_replaced(has_processx = function() FALSE)
  expect_match(plan_engine()$problem$hint[[2]], "install.packages\\(\"processx\"\\).*/fit/python")
})

test_that("a Python that does not fit reticulate, and fits otherwise, works in a process of its own", {
  skip_if_not_installed("processx")
  local_pythons(fit_python, fits = function(python, inside) !inside)
  expect_equal(plan_engine()$transport, "process")
  expect_equal(plan_engine()$python, fit_python)
  local_pythons(fit_python, fits = function(python, inside) FALSE)
  expect_equal(plan_engine()$problem, list(problem = "/fit/python is unfit.", hint = "Mend it."))
})

test_that("a process of its own is had for the asking, and told when it cannot be", {
  local_pythons(fit_python)
  withr::local_options(latome.transport = "process")
  local_replaced(has_processx = function() FALSE)
  expect_match(plan_engine()$problem$problem, "needs the R package processx")
  withr::local_options(latome.transport = NULL)
  withr::local_envvar(LATOME_TRANSPORT = "child")
  expect_error(plan_engine(), "options\\(latome.transport = \\).*you supplied \"child\"", class = "latome_SettingError")
})

test_that("a Python that R cannot load runs in a process of its own, and the message says why", {
  skip_without_engine()
  skip_if_not_installed("processx")
  withr::local_options(latome.transport = "auto")
  python <- find_python()
  local_replaced(session = new.env(), find_python = function(call) python,
    import_bridge = function(library) stop("Python shared library not found, Python bindings not loaded."))
  expect_message(expect_equal(engine(), "process"), "shared library not found.*process of its own instead, with")
  expect_match(request("status")$executable, basename(python$path))
  expect_match(latome_status()$reason, "shared library not found")
  expect_error(latome_python(), "shared library not found", class = "latome_EngineError")
  local_replaced(session = new.env())
  withr::local_options(latome.transport = "in-process")
  expect_error(engine(), "libpython", class = "latome_EngineError")
})

test_that("old reticulate and new numpy are at odds inside R only", {
  versions <- list(python = "3.11.4", packages = as.list(replace(engine_requirements(), "numpy", "2.1.0")))
  local_replaced(needs_old_numpy = function() TRUE)
  expect_match(version_faults(versions), "numpy 2.1.0, which reticulate .* cannot exchange")
  expect_length(version_faults(versions, inside = FALSE), 0)
})

test_that("what is wrong with a Python is mended by one command, which helps", {
  versions <- list(python = "3.11.4", prefix = "/home/me/venv", packages = list())
  local_replaced(python_running = function() FALSE)
  for (how in c("RETICULATE_PYTHON", "latome.python", "use_python function")) {
    expect_match(mend(list(path = "/p", how = how), versions), "^Run in a terminal: \"/p\" -m pip install 'torch>=2.4'")
  }
  expect_equal(mend(list(path = "/p", how = "install_latome()"), versions), "Run latome::install_latome().")
  versions$prefix <- "/usr"                      # pip may not install there
  expect_match(mend(list(path = "/p", how = "RETICULATE_PYTHON"), versions), "unsetenv.*install_latome")
  expect_match(mend(list(path = "/p", how = "latome.python")), "options\\(latome.python = NULL\\).*install_latome")
  expect_match(mend(list(path = "/p", how = "use_python function"), NULL), "Restart R.*install_latome")
  local_replaced(python_running = function() TRUE, has_processx = function() TRUE)
  withr::local_options(latome.transport = "auto")
  expect_match(mend(list(path = "/p", how = "already running in this session"), versions), "process of its own")
  withr::local_options(latome.transport = "in-process")
  expect_match(mend(list(path = "/p", how = "already running in this session"), versions), "^Restart R")
})
