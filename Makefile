# Two commands matter: `make demo` shows what latome does, `make test` checks all of it.
# Both set up what they need first (tools/setup.sh), and skip what is already there.

.DEFAULT_GOAL := help
.PHONY: help setup demo test parity benchmark face vignettes clean distclean

help: ## list the targets
	@grep -E '^[a-z]+:.*## ' Makefile | sed -E 's/:.*## /\t/' | expand -t 12

setup: ## install what is missing: R packages, .venv (Python), .Rlib (this package)
	@tools/setup.sh

# The three variables travel through the environment, so that a path or a column name may hold spaces.
demo: export LATOME_DEMO_DATA := $(DATA)
demo: export LATOME_DEMO_BATCH := $(BATCH)
demo: export LATOME_DEMO_LABELS := $(LABELS)
demo: export LATOME_DEMO_EPOCHS := $(EPOCHS)
demo: setup ## train and draw; or DATA=<h5ad or rds> BATCH=<column> LABELS=<column> [EPOCHS=<number>]
	@tools/with_env.sh Rscript --no-init-file tools/demo/demo.R

test: setup ## ruff, pytest, parity on the committed cases, R CMD build and check
	@tools/test.sh

parity: setup ## compare with recorded arrays: CASES=<folder of cases>
	@tools/with_env.sh .venv/bin/python tools/parity.py "$(if $(CASES),$(CASES),tests/python/fixtures)"

benchmark: setup ## every figure of speed, beside scvi-tools in turn: ARGS="--quick", ARGS="--rows zinb,latent"
	@tools/build_kernels.sh
	@tools/with_env.sh .venv/bin/python benchmarks/speed.py $(ARGS)

face: setup ## write R/run.R and man/ again from the settings of the models
	@tools/with_env.sh .venv/bin/python tools/make_face.py
	@tools/with_env.sh Rscript --no-init-file -e 'roxygen2::roxygenise(load_code = "source")'

vignettes: setup ## knit vignettes/*.Rmd.orig on real data: all of them, or NAME=annotation
	@tools/with_env.sh Rscript --no-init-file tools/knit_vignettes.R $(NAME)

clean: ## remove results and build products
	rm -rf results .build python/build python/latome.egg-info src/*.o src/*.so python/latome/kernels/_native.so
	find python tests tools benchmarks -name __pycache__ -prune -exec rm -rf {} +

distclean: clean ## also remove .venv and .Rlib
	rm -rf .venv .Rlib
