library(testthat)
library(latome)

test_check("latome")
